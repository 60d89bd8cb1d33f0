"""Room: people, credentials, sign-in sessions, OAuth clients and tokens, scopes."""
