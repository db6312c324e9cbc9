// Stands for the rest of the world: every A question has the same answer, for an hour. Argument: port on 127.0.0.1.
import { createSocket } from "node:dgram";

const socket = createSocket("udp4");
socket.on("message", (message, from) => {
  let end = 12;
  while (message[end] !== 0) end += 1 + message[end];
  const question = message.subarray(0, end + 5);
  const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4, 192, 0, 2, 1]);
  const answer = Buffer.concat([question, record]);
  answer.writeUInt16BE(0x8180, 2);
  answer.writeUInt16BE(1, 6);
  answer.writeUInt32BE(0, 8);
  socket.send(answer, from.port, from.address);
});
socket.bind(Number(process.argv[2]), "127.0.0.1", () => console.log("ready"));
