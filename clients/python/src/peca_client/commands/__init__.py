"""The commands of `peca-client`, beside the camera agent's."""
