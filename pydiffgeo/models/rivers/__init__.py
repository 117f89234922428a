"""Rivers: water that runs down a network of reaches, each a store of its own."""
