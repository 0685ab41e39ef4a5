// Starts Swagger UI. In a file of its own: the page allows no script in its markup.

/** @type {any} */ (window).SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  showExtensions: true,
  showCommonExtensions: true,
});
