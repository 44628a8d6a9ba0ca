"""What a view may ask, and who answers it: `interface` and `answers` are the contract, `raw` answers from the raw table."""
