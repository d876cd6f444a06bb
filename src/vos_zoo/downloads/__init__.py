"""Files from the network: resumed, checked by digest or by their first download, with a word on source and licence."""
