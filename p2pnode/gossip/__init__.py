"""What may travel on which topic, and who is trusted to send it."""
