//! WebSocket (RFC 6455): the token stands in the handshake, each message is decided by itself, and the connection ends with the
//! token. Programs only: pages of browsers cannot send `Authorization` with a handshake, and a token has no other place.

mod coming;

use super::{Line, Opened, Taken, words};
use crate::Inner;
use crate::bounds::slots::Slot;
use crate::decide::refusal::Refusal;
use crate::decide::refused::Refused;
use crate::known::caller::Caller;
use crate::known::disbelief::Disbelief;
use crate::message::call::Aim;
use crate::record::account::Account;
use crate::stream::{Over, Watch};
use axum::body::Body;
use bytes::Bytes;
use coming::{Coming, Watched};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use portcullis_domain::registry::OtherTransport;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

/// The one subprotocol that is spoken.
const MCP: &str = "mcp";

/// A ping goes out this often; a peer that said nothing at all from one to the next but one is gone.
const PING: Duration = Duration::from_secs(25);

/// More pings and pongs than this from one of ours to the next are no keep-alive.
const MOST_CONTROL_FRAMES: u32 = 100;

/// For the last words, and for the peer to have heard them.
const FAREWELL: Duration = Duration::from_secs(2);

/// What waits in memory for a slow peer; a longer message is written in pieces of it.
const WRITE_BUFFER: usize = 16 * 1024;

type Socket = WebSocketStream<Watched<TokioIo<Upgraded>>>;

/// Why a connection ends: a code of the registry of RFC 6455 s11.7, and a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The peer said so, or is gone.
    Theirs,
    Binary,
    Flood,
    GoingDown,
    IssuerAway,
    /// A message was not whole in time.
    Late,
    NoRoom,
    NotAllowed,
    Silent,
    Slow,
    Stale,
    /// The server, its session, or this transport is gone.
    Withdrawn,
    TooLarge,
    Violation,
}

impl Ending {
    /// Why whoever calls is not known any more. What is only not known now says so: another token would not help.
    fn of(refusal: &Refusal) -> Self {
        if let Refusal::Disbelieved(Disbelief::IssuerAway) = refusal {
            Self::IssuerAway
        } else if let Refusal::Stale = refusal {
            Self::Stale
        } else {
            Self::NotAllowed
        }
    }

    fn frame(self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::Theirs => return None,
            Self::Binary => (CloseCode::Unsupported, "binary messages are not taken"),
            Self::Flood => (CloseCode::Policy, "too many pings"),
            Self::GoingDown => (CloseCode::Away, "the gateway is going down"),
            Self::IssuerAway => {
                (CloseCode::Again, "the issuer of the access token cannot be asked now: try again")
            }
            // IANA: "Timeout".
            Self::Late => (CloseCode::Library(3008), "the message did not arrive in time"),
            Self::NoRoom => {
                (CloseCode::Again, "as many long messages as there is room for are under way: try again")
            }
            // IANA: "Unauthorized".
            Self::NotAllowed => {
                (CloseCode::Library(3000), "the access token ended, or what it allowed was withdrawn")
            }
            Self::Silent => (CloseCode::Library(3008), "no pong came"),
            Self::Slow => (CloseCode::Again, "messages were not taken in time"),
            Self::Stale => (CloseCode::Again, "the gateway has no news of what is allowed: try again"),
            Self::Withdrawn => (CloseCode::Away, "the session ended: begin a new one"),
            Self::TooLarge => (CloseCode::Size, "the message is too large"),
            Self::Violation => (CloseCode::Protocol, "not as RFC 6455 has it"),
        };
        Some(CloseFrame { code, reason: reason.into() })
    }

    /// For the record: a fixed word.
    fn word(self) -> &'static str {
        match self {
            Self::Theirs => "caller_left",
            Self::Binary => "binary_message",
            Self::Flood => "too_many_pings",
            Self::GoingDown => "going_down",
            Self::IssuerAway => "issuer_away",
            Self::Late => "message_late",
            Self::NoRoom => "no_room",
            Self::NotAllowed => "not_allowed",
            Self::Silent => "no_pong",
            Self::Slow => "too_slow",
            Self::Stale => "stale",
            Self::Withdrawn => "session_ended",
            Self::TooLarge => "message_too_large",
            Self::Violation => "not_websocket",
        }
    }
}

impl Inner {
    /// What is sent to `/ws` below a server's address.
    pub(crate) async fn websocket(
        self: &Arc<Self>,
        caller: &Caller,
        parts: &Parts,
    ) -> Result<Response<Body>, Refused> {
        let (response, upgrade) = handshake(parts).ok_or(Refusal::UpgradeNeeded)?;
        let Opened { line, outgoing, slot, mut recorded } =
            self.open_line(caller, OtherTransport::Websocket).await?;
        let watch = self.watch(&line.opener, (Aim::Connect, true), None);
        let held = (slot, recorded.opens(&self.settings.clock));
        tokio::spawn(converse(line, upgrade, outgoing, watch, held));
        Ok(self.conclude(recorded, Ok(response))?)
    }
}

/// The answer to a good handshake, and what it leads to. There is nothing to upgrade in HTTP/2.
fn handshake(parts: &Parts) -> Option<(Response<Body>, OnUpgrade)> {
    let upgrade = parts.extensions.get::<OnUpgrade>()?.clone();
    let mut request = Request::new(());
    *request.method_mut() = parts.method.clone();
    *request.version_mut() = parts.version;
    *request.headers_mut() = parts.headers.clone();
    let mut response = create_response(&request).ok()?.map(|()| Body::empty());
    if parts.headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        let offered = parts.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
        let mut offered = offered.filter_map(|offer| offer.to_str().ok()).flat_map(|offer| offer.split(','));
        if !offered.any(|offer| offer.trim() == MCP) {
            return None;
        }
        let spoken: (HeaderName, _) = (header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(MCP));
        response.headers_mut().extend([spoken]);
    }
    Some((response, upgrade))
}

/// The whole conversation. `held` is what the caller has of ours meanwhile.
async fn converse(
    line: Arc<Line>,
    upgrade: OnUpgrade,
    outgoing: mpsc::Receiver<Bytes>,
    watch: Watch,
    mut held: (Slot, Account),
) {
    let _over = line.over.clone().drop_guard();
    let Ok(upgraded) = upgrade.await else { return };
    let most = line.gateway.longest_body(&line.opener);
    let coming = Coming::new(line.gateway.room.of(&line.opener.principal.subject), most);
    let bounds = WebSocketConfig::default()
        .max_message_size(Some(most))
        .max_frame_size(Some(most))
        .read_buffer_size(WRITE_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(line.gateway.settings.limits.answer_bytes + WRITE_BUFFER);
    let watched = coming.watching(TokioIo::new(upgraded));
    let socket = WebSocketStream::from_raw_socket(watched, Role::Server, Some(bounds)).await;
    let (mut sink, mut stream) = socket.split();
    let heard = Heard::of(coming);
    let ending = tokio::select! {
        ending = speak(&line, &mut sink, outgoing, watch, &heard) => ending,
        ending = listen(&line, &mut stream, &heard) => ending,
    };
    held.1.ends(ending.word());
    line.over.cancel();
    let farewell = async {
        if let Some(frame) = ending.frame()
            && sink.send(Message::Close(Some(frame))).await.is_err()
        {
            return;
        }
        // What is still on its way here would make the network forget our last words.
        while let Some(Ok(_unheard)) = stream.next().await {}
    };
    let _in_time_or_not = tokio::time::timeout(FAREWELL, farewell).await;
    drop(held);
}

/// What came since our last ping, and what of a message is coming.
struct Heard {
    coming: Coming,
    anything: AtomicU32,
    control: AtomicU32,
    /// A message is taken to the upstream, and nothing is read meanwhile.
    is_busy: AtomicBool,
}

impl Heard {
    fn of(coming: Coming) -> Self {
        Self { coming, anything: AtomicU32::new(0), control: AtomicU32::new(0), is_busy: false.into() }
    }

    /// How often in a row nothing came from one ping to the next, `before` being how often until now. Nobody is silent to whom
    /// nobody listens.
    fn silences(&self, before: u32) -> u32 {
        self.control.store(0, Ordering::Relaxed);
        let was_silent = self.anything.swap(0, Ordering::Relaxed) == 0;
        if was_silent && !self.is_busy.load(Ordering::Relaxed) { before + 1 } else { 0 }
    }
}

/// Writes what is on the line, and pings.
async fn speak(
    line: &Line,
    sink: &mut SplitSink<Socket, Message>,
    mut outgoing: mpsc::Receiver<Bytes>,
    mut watch: Watch,
    heard: &Heard,
) -> Ending {
    let mut ping = tokio::time::interval(PING);
    ping.reset();
    let mut silences = 0;
    loop {
        // What is written is held until it is: its room, and the place of the call that it answers.
        let (message, _held) = tokio::select! {
            biased;
            over = watch.over() => return match over {
                Over::GoingDown => Ending::GoingDown,
                Over::IssuerAway => Ending::IssuerAway,
                Over::Stale => Ending::Stale,
                Over::Expired | Over::NotAllowed | Over::Revoked => Ending::NotAllowed,
            },
            () = line.over.cancelled() => return Ending::Withdrawn,
            Some(message) = outgoing.recv() => match Utf8Bytes::try_from(message.clone()) {
                Ok(text) => (Message::Text(text), message),
                Err(_) => continue,
            },
            _ = ping.tick() => {
                silences = heard.silences(silences);
                if silences == 2 {
                    return Ending::Silent;
                }
                (Message::Ping(Bytes::new()), Bytes::new())
            }
        };
        match tokio::time::timeout(super::SLOW, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ending::Theirs,
            Err(_) => return Ending::Slow,
        }
    }
}

/// Takes what comes.
async fn listen(line: &Arc<Line>, stream: &mut SplitStream<Socket>, heard: &Heard) -> Ending {
    let patience = line.gateway.settings.limits.body_timeout;
    loop {
        let Some(came) = next(stream, &heard.coming, patience).await else { return Ending::Late };
        let Some(came) = came else { return Ending::Theirs };
        heard.anything.fetch_add(1, Ordering::Relaxed);
        match came {
            Ok(Message::Text(text)) => {
                heard.is_busy.store(true, Ordering::Relaxed);
                let ending = take(line, text.into()).await;
                // Whoever was not read may not have been asked for a pong either.
                heard.anything.fetch_add(1, Ordering::Relaxed);
                heard.is_busy.store(false, Ordering::Relaxed);
                heard.coming.waited_for_us();
                if let Some(ending) = ending {
                    return ending;
                }
            }
            // Never made by reading.
            Ok(Message::Binary(_) | Message::Frame(_)) => return Ending::Binary,
            Ok(Message::Ping(_) | Message::Pong(_)) => {
                if heard.control.fetch_add(1, Ordering::Relaxed) >= MOST_CONTROL_FRAMES {
                    return Ending::Flood;
                }
            }
            Err(Error::Capacity(_)) => return Ending::TooLarge,
            Err(Error::Protocol(_) | Error::Utf8(_)) => return Ending::Violation,
            Err(_) if !heard.coming.has_room() => return Ending::NoRoom,
            Ok(Message::Close(_)) | Err(_) => return Ending::Theirs,
        }
    }
}

/// What comes next; nothing when a message is not whole in time.
async fn next(
    stream: &mut SplitStream<Socket>,
    coming: &Coming,
    patience: Duration,
) -> Option<Option<Result<Message, Error>>> {
    let mut late = pin!(tokio::time::sleep(patience));
    poll_fn(|context| {
        if let Poll::Ready(came) = stream.poll_next_unpin(context) {
            return Poll::Ready(Some(came));
        }
        let Some(since) = coming.since() else { return Poll::Pending };
        if late.deadline() != since + patience {
            late.as_mut().reset(since + patience);
        }
        late.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// One message, by whoever the token of the handshake says now.
async fn take(line: &Arc<Line>, body: Bytes) -> Option<Ending> {
    let gateway = &line.gateway;
    let caller = match gateway.caller_now(&line.opener).await {
        Ok(caller) => caller,
        Err(refusal) => return Some(Ending::of(&refusal)),
    };
    let counted = gateway.rates.request(caller.address, caller.now);
    let counted = counted.and_then(|()| gateway.rates.messages(caller.counted_as(), 1, caller.now));
    if let Err(too_often) = counted {
        line.refuse(&caller, &body, Refusal::TooOften(too_often)).await;
        return None;
    }
    let Ok(body) = gateway.room.of(&caller.principal.subject).hold(body.clone()) else {
        line.refuse(&caller, &body, Refusal::NoRoom).await;
        return None;
    };
    match line.take(caller.clone(), body).await {
        Ok(Taken::OnTheLine | Taken::Told(_)) => {}
        Ok(Taken::Refused(refused)) => line.say(words(gateway.refuse_caller(&caller, &refused)).await).await,
        Err(refused) => {
            let says = gateway.refuse_caller(&caller, &refused);
            // JSON-RPC 2.0 s4.1: a notification is never answered. What could not be read may have been a request.
            if let Refusal::Unreadable(_) | Refusal::TooManyAtOnce(_) = *refused.refusal {
                line.say(words(says).await).await;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::room::Room;
    use portcullis_domain::principal::Subject;

    #[test]
    fn strm_03_what_cannot_be_known_now_is_no_end_of_the_token() {
        let ends = [
            Refusal::Disbelieved(Disbelief::IssuerAway),
            Refusal::Stale,
            Refusal::Disbelieved(Disbelief::Revoked),
        ];
        assert_eq!(
            ends.map(|refusal| Ending::of(&refusal)),
            [Ending::IssuerAway, Ending::Stale, Ending::NotAllowed]
        );
    }

    #[test]
    fn strm_05_whoever_is_not_listened_to_is_not_silent() {
        let share = Room::new(1, 1).of(&Subject::Agent("cli_1".parse().unwrap()));
        let heard = Heard::of(Coming::new(share, 1));
        assert_eq!([heard.silences(0), heard.silences(1)], [1, 2]);
        heard.is_busy.store(true, Ordering::Relaxed);
        assert_eq!([heard.silences(0), heard.silences(1)], [0, 0], "a message is on its way to the upstream");
        heard.is_busy.store(false, Ordering::Relaxed);
        heard.anything.store(1, Ordering::Relaxed);
        assert_eq!([heard.silences(1), heard.silences(0)], [0, 1]);
    }
}
