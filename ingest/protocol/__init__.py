"""Pure: what a source may say and be told (HTTP, websocket sessions, histories), and how an exchange declares itself."""
