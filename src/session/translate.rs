//! Between the machine's signals and the wire's messages.
//!
//! Owns which form a signal takes: binary frames for bytes, credit and resets where the feature is
//! in force, JSON otherwise; the other form is a protocol error (P-35). Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::mux::{Role, Signal};
use crate::protocol::codec::{self, Decoded, Wire};
use crate::protocol::error::ErrorCode;
use crate::protocol::frame::Frame;
use crate::protocol::message::{Ack, Cancel, Credit, Data, End, Event, Ping, RoleNow};
use crate::protocol::{ToAgent, ToGateway};

/// The wire's form of a signal that this role may send.
pub fn encode(role: Role, binary: bool, signal: Signal) -> Wire {
    if binary {
        let frame = match signal {
            Signal::Data {
                stream,
                fin,
                zstd,
                payload,
            } => Frame::Data {
                stream,
                fin,
                zstd,
                payload,
            },
            Signal::Window { stream, bytes } => Frame::Window { stream, bytes },
            Signal::Reset { stream, code } => Frame::Reset { stream, code },
            other => return text(role, other),
        };
        return Wire::Binary(frame.encode());
    }
    text(role, signal)
}

fn text(role: Role, signal: Signal) -> Wire {
    Wire::Text(match role {
        Role::Agent => codec::encode(&to_gateway(signal)),
        Role::Gateway => codec::encode(&to_agent(signal)),
    })
}

fn data(stream: crate::protocol::StreamId, fin: bool, zstd: bool, payload: &Bytes) -> Data {
    Data {
        stream,
        data: STANDARD.encode(payload),
        fin,
        zstd,
    }
}

fn to_gateway(signal: Signal) -> ToGateway {
    match signal {
        Signal::Event { stream, event } => ToGateway::Event(Event { stream, event }),
        Signal::Data {
            stream,
            fin,
            zstd,
            payload,
        } => ToGateway::Data(data(stream, fin, zstd, &payload)),
        Signal::End {
            stream,
            outcome: Ok(result),
        } => ToGateway::End(End {
            stream,
            result,
            error: None,
        }),
        Signal::End {
            stream,
            outcome: Err(error),
        } => ToGateway::End(End {
            stream,
            result: None,
            error: Some(error),
        }),
        Signal::Window { stream, bytes } => ToGateway::Credit(Credit { stream, bytes }),
        Signal::Ping(nonce) => ToGateway::Ping(Ping { nonce }),
        Signal::Pong(nonce) => ToGateway::Pong(Ping { nonce }),
        Signal::Goaway(goaway) => ToGateway::Goaway(goaway),
        Signal::Report(report) => ToGateway::Report(report),
        Signal::Heartbeat(heartbeat) => ToGateway::Heartbeat(heartbeat),
        Signal::Open(_)
        | Signal::Reset { .. }
        | Signal::Ack(_)
        | Signal::Role(_)
        | Signal::Warning(_)
        | Signal::Unknown => unreachable!("an agent's machine never says this"),
    }
}

fn to_agent(signal: Signal) -> ToAgent {
    match signal {
        Signal::Open(open) => ToAgent::Open(*open),
        Signal::Data {
            stream,
            fin,
            zstd,
            payload,
        } => ToAgent::Data(data(stream, fin, zstd, &payload)),
        Signal::Window { stream, bytes } => ToAgent::Credit(Credit { stream, bytes }),
        Signal::Reset { stream, code } => ToAgent::Cancel(Cancel { stream, code }),
        Signal::Ping(nonce) => ToAgent::Ping(Ping { nonce }),
        Signal::Pong(nonce) => ToAgent::Pong(Ping { nonce }),
        Signal::Goaway(goaway) => ToAgent::Goaway(goaway),
        Signal::Ack(report) => ToAgent::Ack(Ack { report }),
        Signal::Role(role) => ToAgent::Role(RoleNow { role }),
        Signal::Warning(warning) => ToAgent::Warning(warning),
        Signal::Event { .. }
        | Signal::End { .. }
        | Signal::Report(_)
        | Signal::Heartbeat(_)
        | Signal::Unknown => unreachable!("a gateway's machine never says this"),
    }
}

/// Reads what the peer of this role sent.
///
/// # Errors
/// What the codec says; `protocol_error` for the form that is not in force, and for a handshake
/// message in an established session.
pub fn decode(role: Role, binary: bool, wire: &Wire) -> Result<Signal, ErrorCode> {
    let decoded = match role {
        Role::Agent => match codec::decode::<ToAgent>(wire)? {
            Decoded::Message(message) => return from_gateway(binary, message),
            Decoded::Frame(frame) => Decoded::Frame(frame),
            Decoded::Ignored => Decoded::<()>::Ignored,
        },
        Role::Gateway => match codec::decode::<ToGateway>(wire)? {
            Decoded::Message(message) => return from_agent(binary, message),
            Decoded::Frame(frame) => Decoded::Frame(frame),
            Decoded::Ignored => Decoded::Ignored,
        },
    };
    match decoded {
        Decoded::Frame(_) if !binary => Err(ErrorCode::ProtocolError),
        Decoded::Frame(Frame::Data {
            stream,
            fin,
            zstd,
            payload,
        }) => Ok(Signal::Data {
            stream,
            fin,
            zstd,
            payload,
        }),
        Decoded::Frame(Frame::Window { stream, bytes }) => Ok(Signal::Window { stream, bytes }),
        Decoded::Frame(Frame::Reset { stream, code }) => Ok(Signal::Reset { stream, code }),
        Decoded::Ignored | Decoded::Message(()) => Ok(Signal::Unknown),
    }
}

fn text_form(binary: bool, signal: Signal) -> Result<Signal, ErrorCode> {
    if binary {
        Err(ErrorCode::ProtocolError)
    } else {
        Ok(signal)
    }
}

fn from_data(binary: bool, data: &Data) -> Result<Signal, ErrorCode> {
    let payload = STANDARD
        .decode(&data.data)
        .map_err(|_| ErrorCode::Malformed)?;
    let Data {
        stream, fin, zstd, ..
    } = *data;
    text_form(
        binary,
        Signal::Data {
            stream,
            fin,
            zstd,
            payload: payload.into(),
        },
    )
}

fn from_gateway(binary: bool, message: ToAgent) -> Result<Signal, ErrorCode> {
    match message {
        ToAgent::Open(open) => Ok(Signal::Open(Box::new(open))),
        ToAgent::Data(data) => from_data(binary, &data),
        ToAgent::Credit(Credit { stream, bytes }) => {
            text_form(binary, Signal::Window { stream, bytes })
        }
        ToAgent::Cancel(Cancel { stream, code }) => {
            text_form(binary, Signal::Reset { stream, code })
        }
        ToAgent::Ping(Ping { nonce }) => Ok(Signal::Ping(nonce)),
        ToAgent::Pong(Ping { nonce }) => Ok(Signal::Pong(nonce)),
        ToAgent::Goaway(goaway) => Ok(Signal::Goaway(goaway)),
        ToAgent::Ack(Ack { report }) => Ok(Signal::Ack(report)),
        ToAgent::Role(RoleNow { role }) => Ok(Signal::Role(role)),
        ToAgent::Warning(warning) => Ok(Signal::Warning(warning)),
        ToAgent::Welcome(_) | ToAgent::Refused(_) => Err(ErrorCode::ProtocolError),
    }
}

fn from_agent(binary: bool, message: ToGateway) -> Result<Signal, ErrorCode> {
    match message {
        ToGateway::Event(Event { stream, event }) => Ok(Signal::Event { stream, event }),
        ToGateway::End(End {
            stream,
            result,
            error,
        }) => {
            let outcome = error.map_or(Ok(result), Err);
            Ok(Signal::End { stream, outcome })
        }
        ToGateway::Data(data) => from_data(binary, &data),
        ToGateway::Credit(Credit { stream, bytes }) => {
            text_form(binary, Signal::Window { stream, bytes })
        }
        ToGateway::Ping(Ping { nonce }) => Ok(Signal::Ping(nonce)),
        ToGateway::Pong(Ping { nonce }) => Ok(Signal::Pong(nonce)),
        ToGateway::Goaway(goaway) => Ok(Signal::Goaway(goaway)),
        ToGateway::Report(report) => Ok(Signal::Report(report)),
        ToGateway::Heartbeat(heartbeat) => Ok(Signal::Heartbeat(heartbeat)),
        ToGateway::Hello(_) => Err(ErrorCode::ProtocolError),
    }
}
