// Sends each line of a publisher to every client. Usage: PORT PUBLISH_PORT
import { createServer } from "node:http";
import { createServer as createTcpServer } from "node:net";
import { createInterface } from "node:readline";
import { Server } from "socket.io";

const [port, publishPort] = process.argv.slice(2).map(Number);

const http = createServer();
const io = new Server(http, {
  transports: ["websocket"],
  perMessageDeflate: false,
  serveClient: false,
});

const publishers = createTcpServer((connection) => {
  createInterface({ input: connection }).on("line", (line) => io.emit("event", JSON.parse(line)));
});

publishers.listen(publishPort, "127.0.0.1", () => {
  http.listen(port, "127.0.0.1", () => console.log("listening"));
});
