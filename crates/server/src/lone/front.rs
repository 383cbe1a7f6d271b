//! What a gateway that runs alone serves: the servers behind it and their metadata, and nothing else.

use super::Lone;
use crate::layers::{careful, surviving};
use crate::listener::Answers;
use axum::extract::Request;
use axum::response::Response;
use portcullis_gateway::ClientAddress;
use std::sync::Arc;

impl Answers for Arc<Lone> {
    async fn answer(&self, request: Request, from: Option<ClientAddress>) -> Response {
        let uri = request.uri().clone();
        let mut response = surviving(&uri, self.gateway.answer(request, from)).await;
        careful(response.headers_mut(), self.config.issuer.is_https());
        response
    }
}
