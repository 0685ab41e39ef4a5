"""The edge with its own sign-in, in three ways of putting it into an application."""

from fastapi import FastAPI

from edge import Edge
from edge.app import create_app

installed = FastAPI()
edge_of_installed = Edge()
edge_of_installed.install(installed, "/live")

by_hand_edge = Edge()
by_hand = FastAPI(lifespan=by_hand_edge.lifespan)
by_hand.mount("/live", by_hand_edge.app)

mounted = FastAPI()
mounted.mount("/live", Edge().app)

standalone = FastAPI()
standalone.mount("/live", create_app())
