// A proxy for clients that can't be given a token: node bearer.mjs URL TOKEN. It listens on a free port of 127.0.0.1, prints
// it, and passes everything on as it comes, with the token.
import http from "node:http";

const [url, token] = process.argv.slice(2);
const { hostname, port } = new URL(url);

const server = http.createServer((request, response) => {
  const headers = [...request.rawHeaders, "Authorization", `Bearer ${token}`];
  const onward = http.request({ hostname, port, path: request.url, method: request.method, headers, setHost: false });
  onward.setNoDelay(true);
  onward.on("response", (answer) => {
    response.writeHead(answer.statusCode, answer.rawHeaders);
    response.flushHeaders();
    answer.pipe(response);
    answer.on("error", () => response.destroy());
  });
  onward.on("error", (error) => {
    if (response.headersSent) return response.destroy();
    response.writeHead(502).end(error.message);
  });
  // Who goes away is gone for the other side too.
  response.on("close", () => onward.destroy());
  request.pipe(onward);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
