"""Identity, SDK clients, telemetry: what every room stands on."""
