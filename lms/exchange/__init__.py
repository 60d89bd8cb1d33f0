"""Room: release, fetch, submit, collect and feedback; receipts."""
