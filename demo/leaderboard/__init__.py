"""The Leaderboard tab: its table, its charts, and the questions on which two models differ."""
