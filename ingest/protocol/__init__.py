"""Pure: the requests, responses, websocket sessions and histories of a source, and how an exchange declares itself."""
