// Shows the OpenAPI document. The page reads nothing else, and sends no requests to the API.
const element = document.getElementById("api-docs");
SwaggerUIBundle({
  url: element.dataset.url,
  domNode: element,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: false,
  supportedSubmitMethods: [],
  validatorUrl: null,
});
