"""Who may ask: keys, scopes, sign-in, and the one layer in front of everything."""
