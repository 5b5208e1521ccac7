"""Questions that change nothing: the ledger, sums, exports."""
