"""The whole of Azure this app needs, on one machine. Never imports shared/ or functions/."""
