"""Who is asking: passwords, tokens, accounts, and what each role may do."""
