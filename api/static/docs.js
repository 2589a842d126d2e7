// A key given to "Authorize" is sent as a bearer token; whoever has signed in needs none: the cookie goes along.
SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });
