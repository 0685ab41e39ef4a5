"""A Django site in one file; its view tells everybody, and the customer alone."""

import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, JsonResponse
from django.urls import path

from emitters import Emitter

emitter = Emitter(name="shop")  # here, or in the AppConfig: each process has its own
settings.configure(DEBUG=True, ROOT_URLCONF=__name__, SECRET_KEY="for an example only")


def pay(request: HttpRequest, number: int, customer: str) -> JsonResponse:
    emitter.emit("event:order_paid", {"number": number})
    emitter.emit(f"notice:{number}", {"text": "Thank you"}, username=customer)
    return JsonResponse({"paid": number})


urlpatterns = [path("orders/<int:number>/paid-by/<str:customer>", pay)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
