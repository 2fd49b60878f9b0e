"""Side-by-side load measurements of the gateway lane against other gateways, on one machine and one upstream."""
