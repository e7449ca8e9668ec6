"""The edits that the demonstration editor knows: their exact answers and the sentences that ask for them."""
