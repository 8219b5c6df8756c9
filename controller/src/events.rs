//! Events: one a transition, for people who read `kubectl events`. Losing one loses nothing: status holds the facts.

use crds::names::short_hash;
use kube::Resource;
use kube::runtime::events::{Event, EventType};
use plan::effect;

use crate::context::Context;

/// Publishes `events` about `object`. A failure is logged and not returned: an event must never hold up a recovery.
pub async fn publish<K>(ctx: &Context, object: &K, events: &[effect::Event])
where
    K: Resource<DynamicType = ()>,
{
    for event in events {
        let published = Event {
            type_: match event.kind {
                effect::EventKind::Normal => EventType::Normal,
                effect::EventKind::Warning => EventType::Warning,
            },
            reason: event.reason.clone(),
            note: Some(cut(&event.message)),
            // Events of equal action and reason are counted as one and only the first note is kept; so the action tells
            // notes apart.
            action: format!("Reconcile-{}", short_hash(&[&event.message])),
            secondary: None,
        };
        if let Err(error) = ctx.recorder.publish(&published, &object.object_ref(&())).await {
            tracing::warn!(%error, reason = event.reason, "an event could not be written");
        }
    }
}

/// A note may have 1,024 bytes.
fn cut(message: &str) -> String {
    if message.len() <= 1024 {
        return message.to_owned();
    }
    let end = (0..=1021).rev().find(|&i| message.is_char_boundary(i)).unwrap_or(0);
    format!("{}...", &message[..end])
}
