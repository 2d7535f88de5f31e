"""The command line of `testnet`: requests to a supervisor, and what is shown of the answers."""
