# How the recording was made: what a user and kubelets do, with `k` for kubectl with all rights, beside an API server and a controller
# manager of 1.36 for both families (--allocate-node-cidrs, --node-monitor-grace-period 4s), while this ran for each kind:
#   curl -skN "https://127.0.0.1:6443/api/v1/nodes?watch=1&allowWatchBookmarks=true" > nodes.jsonl
# The facts that tests/recorded/facts.rs names are those of one recording: a new one has other cluster addresses.
status() { # node last ready
k patch node $1 --subresource=status --type=merge -p "{\"status\":{\"addresses\":[{\"type\":\"InternalIP\",\"address\":\"192.0.2.$2\"},{\"type\":\"InternalIP\",\"address\":\"2001:db8::$2\"},{\"type\":\"Hostname\",\"address\":\"$1\"}],\"conditions\":[{\"type\":\"Ready\",\"status\":\"$3\",\"reason\":\"KubeletReady\",\"lastHeartbeatTime\":\"$(date -u +%FT%TZ)\",\"lastTransitionTime\":\"$(date -u +%FT%TZ)\"}]}}"; }
node() { k create -f - <<N
apiVersion: v1
kind: Node
metadata: {name: $1, labels: {kubernetes.io/hostname: $1, topology.kubernetes.io/zone: z$2}}
N
status $1 $2 True; }
lease() { k -n kube-node-lease create -f - 2>/dev/null <<N || true
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: $1}
spec: {holderIdentity: $1, leaseDurationSeconds: 40}
N
k -n kube-node-lease patch lease $1 --type=merge -p "{\"spec\":{\"renewTime\":\"$(date -u +%FT%T.000000Z)\"}}" >/dev/null; }
pod() { # name node ip ip6 label
k create -f - <<N
apiVersion: v1
kind: Pod
metadata: {name: $1, namespace: shop, labels: {app: $5}}
spec: {nodeName: $2, containers: [{name: c, image: registry.k8s.io/pause, ports: [{name: http, containerPort: 8080}]}]}
N
podstatus $1 $3 $4 $2 True; }
podstatus() { k -n shop patch pod $1 --subresource=status --type=merge -p "{\"status\":{\"phase\":\"Running\",\"podIP\":\"$2\",\"podIPs\":[{\"ip\":\"$2\"},{\"ip\":\"$3\"}],\"conditions\":[{\"type\":\"Ready\",\"status\":\"$5\"}]}}"; }
{
node a 1; node b 2; node c 3; lease a; lease b; lease c
sleep 2
k create namespace shop; k -n shop create serviceaccount default 2>/dev/null; sleep 2
k label namespace shop team=blue
# peers, an AS of its own, communities; then a wrong item; then right again
k annotate node a kube-router.io/peers='[{remoteip: 192.0.2.200, remoteasn: 65001, password: czNjcmV0}]' kube-router.io/node.bgp.communities=64512:7
k annotate node a --overwrite kube-router.io/peers='[{remoteip: 192.0.2.200, remoteasn: 65001}, {remoteip: 192.0.2.300, remoteasn: 1}]'
lease a; lease b; lease c
k annotate node a --overwrite kube-router.io/peers='[{remoteip: 192.0.2.200, remoteasn: 65001}, {remoteip: 192.0.2.201, remoteasn: 65002, bfd: {enabled: true}}]'
P=$(k get node a -o jsonpath='{.spec.podCIDRs[0]}'); Pa=${P%.0/24}
P=$(k get node b -o jsonpath='{.spec.podCIDRs[0]}'); Pb=${P%.0/24}
pod web-a a $Pa.10 fd00:10:244::10 web; pod web-b b $Pb.10 fd00:10:244:1::10 web; pod cart-b b $Pb.11 fd00:10:244:1::11 cart
k create -f - <<N
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, annotations: {kube-router.io/service.advertise.clusterip: "true"}}
spec: {selector: {app: web}, ipFamilyPolicy: PreferDualStack, ports: [{name: http, port: 80, targetPort: http}], externalIPs: [203.0.113.7]}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {type: NodePort, externalTrafficPolicy: Local, selector: {app: cart}, ports: [{port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: shop, labels: {service.kubernetes.io/service-proxy-name: other}}
spec: {ports: [{port: 1}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: cart}}}], ports: [{port: http}]}]}
N
sleep 2; lease a; lease b; lease c
# not ready and ready again; label moves it to the other Service
podstatus web-a $Pa.10 fd00:10:244::10 a False; sleep 1
podstatus web-a $Pa.10 fd00:10:244::10 a True; sleep 1
k -n shop label pod cart-b --overwrite app=web; sleep 1
k -n shop label pod cart-b --overwrite app=cart; sleep 1
k -n shop patch service web --type=merge -p '{"spec":{"externalIPs":["203.0.113.7","203.0.113.8"]}}'
k -n shop patch service web --type=merge -p '{"spec":{"type":"LoadBalancer"}}'
k -n shop patch service web --subresource=status --type=merge -p '{"status":{"loadBalancer":{"ingress":[{"ip":"198.51.100.5"}]}}}'
lease a; lease b; lease c
# a node is cordoned; another's address changes; reflectors
k cordon b; k uncordon b
k patch node c --subresource=status --type=merge -p '{"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.33"},{"type":"InternalIP","address":"2001:db8::33"}]}}'
k annotate node c kube-router.io/rr.server=42; k annotate node b kube-router.io/rr.client=42; k annotate node c kube-router.io/rr.server-; k annotate node b kube-router.io/rr.client-
# its kubelet is silent: the controller marks it and its pods
for i in 1 2 3 4 5 6; do lease a; lease c; sleep 1; done
status b 2 True; lease b; lease a; lease c; sleep 2; lease a; lease b; lease c
k -n shop delete networkpolicy web
k -n shop delete pod cart-b --grace-period=0 --force
k -n shop delete service cart
k delete node c
sleep 2
k delete namespace shop --wait=false
sleep 5
} 
