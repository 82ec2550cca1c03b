//! Scene: every `routerd` is killed without warning and started again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::policy::Askers;
use super::report::{Report, Shown};
use super::world::World;
use crate::guest::client::Running;
use crate::tool::gap;

/// How long the nodes are left without a daemon.
const AWAY: Duration = Duration::from_millis(1500);

/// Connections through a Service live on, and what policy refuses stays refused.
pub(super) fn restart(world: &mut World, askers: Option<&mut Askers>, report: &mut Report) {
    let stream = open_stream(world);
    let mut killed = Err(anyhow::anyhow!("the daemons were not killed"));
    report.check("routerd killed (SIGKILL) on all nodes and started again", || {
        let took = kill_and_start(world)?;
        killed = Ok(());
        Ok(Shown::Good(format!("ready again {} ms after its start", took.as_millis())))
    });
    report.check("an established connection through the Service meanwhile", || match stream {
        Ok(None) => Ok(Shown::Absent("this kernel has no IPVS".into())),
        Ok(Some(stream)) => unbroken(&stream),
        Err(error) => Err(error),
    });
    report.check("what policy refuses meanwhile", || {
        killed?;
        let Some(askers) = askers else { bail!("the policy scene did not begin") };
        refused_throughout(askers)
    });
}

fn open_stream(world: &World) -> Result<Option<Running>> {
    if world.absent.contains(&"services") {
        return Ok(None);
    }
    let pod = world.pod("client")?;
    let server = SocketAddr::new(world.web.address, world.web.port);
    let stream = world.node_of(pod)?.spawn(pod.tool(&format!("stream {server}"))?)?;
    match stream.lines.recv_timeout(Duration::from_secs(3)) {
        Ok((_, line)) if line.starts_with("lines") => Ok(Some(stream)),
        Ok((_, line)) => bail!("the connection did not come up: {line}"),
        Err(_) => bail!("the connection did not come up"),
    }
}

fn kill_and_start(world: &mut World) -> Result<Duration> {
    for daemon in &world.daemons {
        daemon.kill()?;
    }
    std::thread::sleep(AWAY);
    let begin = Instant::now();
    for daemon in &mut world.daemons {
        daemon.again()?;
    }
    for daemon in &world.daemons {
        daemon.wait_until_ready(&world.absent)?;
    }
    let took = begin.elapsed();
    // What a first full sync breaks may show only with the packets after it.
    std::thread::sleep(Duration::from_secs(1));
    world.wait_for_routes(begin)?;
    Ok(took)
}

fn unbroken(stream: &Running) -> Result<Shown> {
    let lines = stream.lines_and_one_more(Duration::from_secs(5)).context("the connection")?;
    let Some((_, last)) = lines.last() else { bail!("the connection stood still") };
    match gap(last) {
        Some((count, longest, server)) => {
            ensure!(longest < 1000, "it stood still for {longest} ms");
            Ok(Shown::Good(format!("unbroken: {count} lines with {server}, the longest gap {longest} ms")))
        }
        None => bail!("the client said {last:?}"),
    }
}

fn refused_throughout(askers: &mut Askers) -> Result<Shown> {
    let before = askers.refused.tries;
    askers.refused.listen_until(Instant::now() + Duration::from_millis(600))?;
    askers.admitted.listen_until(Instant::now())?;
    ensure!(askers.refused.breakthroughs == 0, "it was answered {} times", askers.refused.breakthroughs);
    ensure!(askers.admitted.losses == 0, "the admitted client was refused {} times", askers.admitted.losses);
    let tries = askers.refused.tries - before;
    ensure!(tries > 0, "the refused client did not ask");
    Ok(Shown::Good(format!("refused in all of {tries} tries, while the admitted client was always answered")))
}
