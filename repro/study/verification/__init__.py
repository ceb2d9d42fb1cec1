"""Whether what is stored can be trusted: files, numbers against each other, and runs made again."""
