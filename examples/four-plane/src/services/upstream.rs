//! A role as another one calls it.

use bytes::Bytes;
use http::{Request, Response};

use super::client::{CallError, Client};
use super::instances::Instances;

/// At most this many instances are tried per call.
const ATTEMPTS: usize = 3;

/// The instances of one role behind one call.
#[derive(Debug, Clone)]
pub struct Upstream {
    client: Client,
    instances: Instances,
}

impl Upstream {
    /// Of these instances.
    pub fn new(client: Client, instances: Instances) -> Self {
        Self { client, instances }
    }

    /// Calls one instance after another until one answers.
    ///
    /// # Errors
    /// That of the last attempt.
    pub async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, CallError> {
        let role = self.instances.role().name();
        let mut tried = Vec::new();
        let mut outcome = Err(CallError::NoInstance { role });
        while tried.len() < ATTEMPTS {
            let Some(address) = self.instances.next(&tried) else { return outcome };
            tried.push(address);
            outcome = self.client.send(address, request.clone()).await;
            if outcome.as_ref().is_ok_and(|response| !response.status().is_server_error()) {
                break;
            }
        }
        outcome
    }
}
