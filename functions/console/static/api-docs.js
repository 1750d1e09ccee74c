// Shows the OpenAPI document. The page reads nothing else, and sends no requests to the API.
const hidden = () => () => null;
const element = document.getElementById("api-docs");
SwaggerUIBundle({
  url: element.dataset.url,
  domNode: element,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: false,
  supportedSubmitMethods: [],
  // The page does not need a key, so it does not ask for one.
  plugins: [() => ({ wrapComponents: { authorizeBtn: hidden, authorizeOperationBtn: hidden } })],
  validatorUrl: null,
});
