// GET /v1/ws: many chat requests at once over one WebSocket, each under an id that the client
// picks. docs/api.md says what the messages are.
#pragma once

#include <memory>

#include "server/api/call.h"
#include "server/http/application.h"

namespace realm::server {

std::shared_ptr<WebSocketHandler> make_websocket_api(ApiContext& api, Principal principal);

}  // namespace realm::server
