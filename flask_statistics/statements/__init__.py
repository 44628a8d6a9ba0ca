"""What the app's statements took, added up by hours in tables of our own: by statement, route and place in the code."""
