"""The connections to exchanges and providers: websockets, HTTP requests, rate limits, backoff, and the recording of frames."""
