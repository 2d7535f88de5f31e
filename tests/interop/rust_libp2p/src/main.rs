//! A rust-libp2p peer that does what it is told, a JSON object a line, and answers in the same way.
//! What the orders mean is written in tests/interop/README.md.
use std::{error::Error, io::Write as _, time::Duration};

use futures::{
    future::try_join,
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    StreamExt,
};
use libp2p::{
    gossipsub, identify,
    multiaddr::Protocol,
    noise, ping,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux, Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder,
};
use libp2p_stream as stream;
use serde_json::{json, Value};
use sha2::{Digest, Sha256};
use tokio::{
    io::{stdin, AsyncBufReadExt, BufReader},
    time::timeout,
};

const PIECE_BYTES: usize = 32_768;
const FRAME_BYTES_MAX: usize = 4 << 20;
const ORDER_TIMEOUT: Duration = Duration::from_secs(60);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(NetworkBehaviour)]
struct Behaviour {
    gossip: gossipsub::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    streams: stream::Behaviour,
}

/// What the order under way waits for; there is one order at a time.
enum Wait {
    Nothing,
    Connection,
    Identification,
    Pong,
    Mesh(gossipsub::TopicHash),
}

struct Peer {
    swarm: Swarm<Behaviour>,
    wait: Wait,
    /// Identify speaks once, soon after a connection is made, perhaps before it is asked about.
    identified: Option<Value>,
}

impl Peer {
    fn new() -> Outcome<Self> {
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(
                tcp::Config::default(),
                noise::Config::new,
                yamux::Config::default,
            )?
            .with_behaviour(|key| {
                let gossip = gossipsub::ConfigBuilder::default()
                    // The default of 64 KiB is below our frames of transactions.
                    .max_transmit_size(2 << 20)
                    .build()?;
                let signed = gossipsub::MessageAuthenticity::Signed(key.clone());
                Ok(Behaviour {
                    gossip: gossipsub::Behaviour::new(signed, gossip)?,
                    identify: identify::Behaviour::new(identify::Config::new(
                        "p2pnode/interop".into(),
                        key.public(),
                    )),
                    ping: ping::Behaviour::new(
                        ping::Config::new().with_interval(Duration::from_secs(1)),
                    ),
                    streams: stream::Behaviour::new(),
                })
            })?
            .with_swarm_config(|config| config.with_idle_connection_timeout(ORDER_TIMEOUT))
            .build();
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
        Ok(Self {
            swarm,
            wait: Wait::Nothing,
            identified: None,
        })
    }

    /// Begin an order; its answer is said now, by an event, or by a task of its own.
    fn begin(&mut self, order: &Value) -> Outcome<()> {
        let text = |name: &str| order[name].as_str().unwrap_or_default().to_owned();
        let size = order["size"].as_u64().unwrap_or(0) as usize;
        self.wait = Wait::Nothing;
        match text("do").as_str() {
            "dial" => {
                self.wait = Wait::Connection;
                self.swarm.dial(text("target").parse::<Multiaddr>()?)?;
            }
            "identify" => match self.identified.clone() {
                Some(answer) => say_answer(answer),
                None => self.wait = Wait::Identification,
            },
            "ping" => self.wait = Wait::Pong,
            "subscribe" => {
                let topic = gossipsub::IdentTopic::new(text("topic"));
                self.swarm.behaviour_mut().gossip.subscribe(&topic)?;
                self.wait = Wait::Mesh(topic.hash());
            }
            "publish" => {
                let topic = gossipsub::IdentTopic::new(text("topic"));
                let data = hex::decode(text("data"))?;
                self.swarm.behaviour_mut().gossip.publish(topic, data)?;
                say_answer(json!({}));
            }
            "mirror" => {
                let protocol = StreamProtocol::try_from_owned(text("protocol"))?;
                let mut streams = self.swarm.behaviour().streams.new_control();
                let mut incoming = streams.accept(protocol).map_err(|e| e.to_string())?;
                tokio::spawn(async move {
                    while let Some((_, stream)) = incoming.next().await {
                        tokio::spawn(mirror(stream));
                    }
                });
                say_answer(json!({}));
            }
            "disconnect" => {
                let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
                for peer in peers {
                    let _ = self.swarm.disconnect_peer_id(peer);
                }
                say_answer(json!({}));
            }
            "exchange" => self.on_stream(order, move |s| exchange(s, size))?,
            "half_close" => self.on_stream(order, move |s| half_close(s, size))?,
            "reset" => self.on_stream(order, move |s| reset(s, size))?,
            "drain" => self.on_stream(order, drain)?,
            other => return Err(format!("no order {other}").into()),
        }
        Ok(())
    }

    /// Open a stream to a peer that is connected, and say what a task has made of it.
    fn on_stream<F, Fut>(&self, order: &Value, work: F) -> Outcome<()>
    where
        F: FnOnce(Stream) -> Fut + Send + 'static,
        Fut: std::future::Future<Output = Outcome<Value>> + Send + 'static,
    {
        let target: Multiaddr = order["target"].as_str().unwrap_or_default().parse()?;
        let Some(Protocol::P2p(peer)) = target.iter().last() else {
            return Err("the target names no peer".into());
        };
        let protocol = order["protocol"].as_str().unwrap_or_default().to_owned();
        let protocol = StreamProtocol::try_from_owned(protocol)?;
        let mut streams = self.swarm.behaviour().streams.new_control();
        tokio::spawn(async move {
            let whole = async {
                let stream = streams.open_stream(peer, protocol).await?;
                work(stream).await
            };
            match timeout(ORDER_TIMEOUT, whole).await {
                Ok(Ok(answer)) => say_answer(answer),
                Ok(Err(error)) => say(json!({"error": error.to_string()})),
                Err(error) => say(json!({"error": error.to_string()})),
            }
        });
        Ok(())
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                let address = address.with(Protocol::P2p(*self.swarm.local_peer_id()));
                say(json!({"event": "ready", "address": address.to_string()}));
            }
            SwarmEvent::ConnectionEstablished { .. } => {
                if let Wait::Connection = self.wait {
                    // Nothing else is compiled in, and rust-libp2p does not tell.
                    self.finish(json!({"muxer": "/yamux/1.0.0", "encryption": "/noise"}));
                }
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => {
                if let Wait::Connection = self.wait {
                    self.wait = Wait::Nothing;
                    say(json!({"error": error.to_string()}));
                }
            }
            SwarmEvent::ConnectionClosed { .. } => say(json!({"event": "disconnect"})),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                info,
                ..
            })) => {
                let protocols: Vec<String> = info.protocols.iter().map(|p| p.to_string()).collect();
                let answer = json!({"protocols": protocols});
                self.identified = Some(answer.clone());
                if let Wait::Identification = self.wait {
                    self.finish(answer);
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { result, .. })) => {
                if let Wait::Pong = self.wait {
                    self.wait = Wait::Nothing;
                    match result {
                        Ok(rtt) => say_answer(json!({"ms": rtt.as_secs_f64() * 1000.0})),
                        Err(error) => say(json!({"error": error.to_string()})),
                    }
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Message {
                message,
                ..
            })) => say(json!({
                "event": "message",
                "topic": message.topic.as_str(),
                "data": hex::encode(message.data),
            })),
            _ => {}
        }
    }

    fn finish(&mut self, answer: Value) {
        self.wait = Wait::Nothing;
        say_answer(answer);
    }

    /// A mesh has no events of its own, so it is looked at now and then.
    fn look_at_mesh(&mut self) {
        if let Wait::Mesh(topic) = &self.wait {
            if self
                .swarm
                .behaviour()
                .gossip
                .mesh_peers(topic)
                .next()
                .is_some()
            {
                self.finish(json!({}));
            }
        }
    }
}

/// Send a body of a known pattern as one request, and read the answer to it.
async fn exchange(stream: Stream, size: usize) -> Outcome<Value> {
    let body = pattern(size);
    let mut frame = (size as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    let mut answer = vec![0; 4 + 1 + size];
    let (mut reader, mut writer) = stream.split();
    // At the same time: neither side holds more than a window of what is under way.
    try_join(
        write_pieces(&mut writer, &frame),
        reader.read_exact(&mut answer),
    )
    .await?;
    Ok(json!({"sent": sha(&body), "received": sha(&answer[5..]), "status": answer[4]}))
}

/// End our own direction after the body, and read the other one to its end.
async fn half_close(mut stream: Stream, size: usize) -> Outcome<Value> {
    let body = pattern(size);
    write_pieces(&mut stream, &body).await?;
    stream.close().await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(json!({"sent": sha(&body), "received": sha(&answer)}))
}

/// Leave a stream in the middle; the muxer resets one that is dropped unfinished.
async fn reset(mut stream: Stream, size: usize) -> Outcome<Value> {
    write_pieces(&mut stream, &pattern(size)).await?;
    stream.flush().await?;
    Ok(json!({}))
}

/// Read until the other side ends the stream. rust-yamux shows a reset as an end.
async fn drain(mut stream: Stream) -> Outcome<Value> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut bytes = 0;
    loop {
        match stream.read(&mut piece).await {
            Ok(0) => return Ok(json!({"bytes": bytes, "end": "closed"})),
            Ok(count) => bytes += count,
            Err(_) => return Ok(json!({"bytes": bytes, "end": "reset"})),
        }
    }
}

/// Return frames as they come, each read whole first: who writes may not read meanwhile.
async fn mirror(mut stream: Stream) {
    let mut head = [0; 4];
    while stream.read_exact(&mut head).await.is_ok() {
        let size = u32::from_be_bytes(head) as usize;
        if size > FRAME_BYTES_MAX {
            return;
        }
        let mut frame = head.to_vec();
        frame.resize(4 + size, 0);
        if stream.read_exact(&mut frame[4..]).await.is_err() {
            return;
        }
        if write_pieces(&mut stream, &frame).await.is_err() {
            return;
        }
    }
}

async fn write_pieces(writer: &mut (impl AsyncWrite + Unpin), data: &[u8]) -> std::io::Result<()> {
    for piece in data.chunks(PIECE_BYTES) {
        writer.write_all(piece).await?;
    }
    writer.flush().await
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i * 7 + (i >> 8)) as u8).collect()
}

fn sha(data: &[u8]) -> String {
    hex::encode(Sha256::digest(data))
}

fn say_answer(answer: Value) {
    say(json!({"answer": answer}));
}

fn say(line: Value) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let mut peer = Peer::new()?;
    let mut lines = BufReader::new(stdin()).lines();
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    loop {
        tokio::select! {
            event = peer.swarm.select_next_some() => peer.on_event(event),
            line = lines.next_line() => {
                let Some(line) = line? else { return Ok(()) };
                let begun = serde_json::from_str(&line)
                    .map_err(Into::into)
                    .and_then(|order| peer.begin(&order));
                if let Err(error) = begun {
                    say(json!({"error": error.to_string()}));
                }
            }
            _ = looks.tick() => peer.look_at_mesh(),
        }
    }
}
