"""What feeds streams of server-sent events, those of events by the hub, those of playbacks by relays, and hands on the
WebSockets of viewers by tunnels."""
