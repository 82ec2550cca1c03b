//! A server that goes and comes back.

use super::*;

const ITEM: &str = "API server, watch of Pod";

/// The server of `world` in a task of its own. When that ends, it is gone with its connections.
async fn server(world: &World) -> tokio::task::JoinHandle<()> {
    let listener = TcpListener::bind(world.address).await.unwrap();
    let content = world.content.subscribe();
    tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            let content = content.clone();
            connections.spawn(async move {
                let answer = |request| {
                    let response = respond(&request, &content);
                    async move { Ok::<_, Infallible>(response) }
                };
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(connection), service_fn(answer))
                    .await;
            });
        }
    })
}

/// Ends the server and waits until its address is free.
async fn end(server: tokio::task::JoinHandle<()>) {
    server.abort();
    let _ = server.await;
}

fn is_over(message: &SourceMessage) -> bool {
    matches!(message, SourceMessage::Problems { item, messages } if item == ITEM && messages.is_empty())
}

#[tokio::test]
async fn the_end_of_an_outage_is_seen_though_nothing_happens_and_the_next_one_is_told() {
    let mut world = world(free_address().await);
    let mut running = server(&world).await;
    world.until(|message| is_complete(message, Kind::Pod, 0)).await;
    for _ in 0..2 {
        end(running).await;
        world.until(|message| says(message, ITEM, "tried again")).await;
        running = server(&world).await;
        world.until(is_over).await;
    }
    world.event("ADDED", &pod("a", 2, "10.244.1.2"));
    world.until(|message| shows(message, "a")).await;
}
