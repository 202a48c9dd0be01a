//! One request that a server answers, from the client's words to the response: an answer by itself, or a stream where
//! something is to be said before it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use tokio::sync::oneshot;

use crate::mcp::Question;
use crate::mcp::envelope::{self, code};
use crate::record::Era;

use super::ask::input_required;
use super::asked::{Ask, Asked, Round, failed};
use super::exchange::{Exchange, Step, Whole};
use super::find::{Asker, Failure, Found, around, find};
use super::held::Held;
use super::meter::Outcome;
use super::seal::{Bound, State};
use super::session::Running;
use super::{Endpoint, Inner, answer};

/// What is said where a call that waited is not here any more.
const GONE: &str = "the call that waited for this answer is gone: it waited for too long, gave way to others, was answered \
                    already, or mcpd was restarted. It was not run again; call the tool anew";

/// Runs a request.
pub async fn call(inner: &Arc<Inner>, endpoint: &Endpoint, who: Asker, asked: Asked) -> Response {
    let mut listed = None;
    if let Some(session) = &who.session {
        match session.run(asked.id()) {
            Ok(running) => listed = Some(running),
            Err(error) => return answer::error(asked.id(), code::INVALID_REQUEST, &error.to_string()),
        }
        if asked.ask == Ask::Unsubscribe {
            // The server is told in the background, once nobody wants to hear of it any more.
            inner.sessions.subscriptions.remove(&asked.key, &session.id);
            return answer::result(asked.id(), b"{}");
        }
    }
    let mut round = None;
    if who.era == Era::Modern
        && let Some(state) = asked.state()
    {
        match open(inner, endpoint, &who, &asked, &state) {
            Some(State::Held(number)) => return go_on(inner, &number, who, asked).await,
            Some(State::Server(state)) => {
                let responses = asked.responses();
                let mut responses: Vec<(&str, &str)> = responses.iter().map(|(k, v)| (&**k, &**v)).collect();
                responses.sort_unstable();
                round = Some(Round {
                    state: Some(serde_json::Value::from(state).to_string()),
                    responses: Some(crate::mcp::meta::written(responses.into_iter())),
                });
            }
            Some(State::Anew) => round = Some(Round::default()),
            None => {
                let message =
                    "requestState is not valid: it is another request's or caller's, was changed, or is too old";
                return answer::error(asked.id(), code::INVALID_PARAMS, message);
            }
        }
    }
    begin(inner, endpoint, who, asked, round, listed).await
}

fn open(inner: &Inner, endpoint: &Endpoint, who: &Asker, asked: &Asked, state: &str) -> Option<State> {
    let (subject, endpoint) = (asked.subject(), endpoint.to_string());
    let bound = Bound {
        caller: &who.caller,
        endpoint: &endpoint,
        subject: &subject,
    };
    inner.seal.open(state, &bound, crate::kit::time::now())
}

async fn begin(
    inner: &Arc<Inner>,
    endpoint: &Endpoint,
    who: Asker,
    asked: Asked,
    round: Option<Round>,
    mut listed: Option<(Running, oneshot::Receiver<()>)>,
) -> Response {
    let finding = find(inner, endpoint, &who, &asked, round.as_ref());
    let found = match &mut listed {
        None => finding.await,
        Some((_, cancelled)) => tokio::select! {
            found = finding => found,
            // A client that cancelled does not wait; whatever reads this is told why there is nothing.
            _ = cancelled => return answer::error(asked.id(), code::CANCELLED, "the request was cancelled"),
        },
    };
    let whole = match found {
        Ok(Found::Sent(sent)) => {
            let exchange = Exchange::new(Arc::clone(inner), endpoint.clone(), who, asked, sent, listed);
            return run(exchange).await;
        }
        Ok(Found::Around(servers)) => match around(inner, &who, &asked, &servers).await {
            Ok(whole) => whole,
            Err(whole) => {
                who.timed.end(Outcome::Unknown, "no server has this resource");
                whole
            }
        },
        Ok(Found::Answered(result)) if who.era == Era::Modern => {
            let result = [br#"{"resultType":"complete","#, result.get(1..).unwrap_or_default()].concat();
            envelope::result(asked.id(), &result)
        }
        Ok(Found::Answered(result)) => envelope::result(asked.id(), result),
        Err(Failure::Unknown) => {
            who.timed.end(Outcome::Unknown, "no server has what was asked for");
            asked.unknown(who.era)
        }
        Err(Failure::Server(outcome, message)) => failed(asked.ask, asked.id(), &who.timed.fails(outcome, &message)),
        Err(Failure::Unable(message)) => {
            who.timed.end(Outcome::Refused, &message);
            envelope::error(asked.id(), code::METHOD_NOT_FOUND, &message)
        }
        Err(Failure::TooMany) => {
            let message = "this session is subscribed to as many resources as one may be (1000, 256 KiB of URIs, 8 MiB in all of a caller's \
                           sessions); unsubscribe from some first";
            who.timed.end(Outcome::Refused, message);
            envelope::error(asked.id(), code::INVALID_REQUEST, message)
        }
    };
    answer::json(StatusCode::OK, whole)
}

/// Goes on with a call that waited for its client.
async fn go_on(inner: &Arc<Inner>, number: &str, who: Asker, asked: Asked) -> Response {
    let Some(held) = inner.waiting.take(number) else {
        let message = who.timed.fails(Outcome::Unavailable, GONE);
        return answer::json(StatusCode::OK, failed(asked.ask, asked.id(), &message));
    };
    let Held {
        mut exchange,
        mut questions,
        ..
    } = held;
    let mut responses = asked.responses();
    exchange.resume(asked, who);
    let keys: Vec<String> = questions.keys().cloned().collect();
    for key in keys {
        if let Some(response) = responses.remove(&key)
            && let Some(question) = questions.remove(&key)
        {
            question.answer(Ok(response.as_bytes()));
        }
    }
    if questions.is_empty() {
        // What it asks next is waited for anew.
        exchange.held_since = None;
    } else {
        // What is still missing is asked for once more.
        return one(hold(exchange, questions));
    }
    run(exchange).await
}

/// Follows a request to its answer.
async fn run(mut exchange: Exchange) -> Response {
    match exchange.next().await {
        Step::Last(whole) => one(whole),
        Step::Hold(questions) => one(hold(exchange, questions)),
        Step::Event(first) => {
            let following = Some((exchange, Some(first)));
            let events = futures_util::stream::unfold(following, |following| async {
                let (mut exchange, first) = following?;
                let step = match first {
                    Some(first) => Step::Event(first),
                    None => exchange.next().await,
                };
                let (message, rest) = match step {
                    Step::Event(message) => {
                        exchange.inner.meter.sent(message.len());
                        (message, Some((exchange, None)))
                    }
                    Step::Last(whole) => (whole.bytes, None),
                    Step::Hold(questions) => (hold(exchange, questions).bytes, None),
                };
                Some((Ok::<_, Infallible>(answer::event(&message)), rest))
            });
            answer::stream(Body::from_stream(events))
        }
    }
}

/// The answer that asks the client, which comes back with what it says.
fn hold(exchange: Exchange, questions: BTreeMap<String, Question>) -> Whole {
    let inner = Arc::clone(&exchange.inner);
    let (ask, id) = (exchange.asked.ask, exchange.asked.id().to_owned());
    let timed = Arc::clone(&exchange.who.timed);
    let fails = |message: &str| failed(ask, &id, &timed.fails(Outcome::Refused, message)).into();
    let texts: Vec<(String, String, Option<String>)> = questions
        .iter()
        .map(|(key, question)| {
            let params = question.params().map(str::to_owned);
            (key.clone(), question.method().to_owned(), params)
        })
        .collect();
    let bound = exchange.binding();
    let server = exchange.sent.server.clone();
    let number = match inner.waiting.hold(exchange, questions) {
        Ok(number) => number,
        Err(full) => return fails(&format!("server {server} asks something, but {full}.")),
    };
    let Some(state) = bound.seal(&inner, State::Held(number)) else {
        return fails("the call can't be held: no chance is to be had");
    };
    for _ in &texts {
        inner.meter.asked();
    }
    // The client was answered; it comes back with a request of its own.
    timed.end(Outcome::Ok, "");
    let questions = texts
        .iter()
        .map(|(key, method, params)| (key.clone(), &**method, params.as_deref()));
    let result = input_required(questions, Some(&state));
    envelope::result(&id, result.as_bytes()).into()
}

fn one(whole: Whole) -> Response {
    answer::json(whole.status, whole.bytes)
}
