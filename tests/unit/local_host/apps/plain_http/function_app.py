"""An app that does not use HTTP streams."""

import azure.functions as func

app = func.FunctionApp()


@app.route("hello")
def hello(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("hello")
