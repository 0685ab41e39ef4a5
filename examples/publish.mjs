// TOKEN=… node publish.mjs: publishes by HTTP. A repeated request publishes nothing twice.
const edge = process.env.EDGE ?? "http://127.0.0.1:8000";

async function publish(topic, data, key) {
  const response = await fetch(`${edge}/api/events`, {
    method: "POST",
    headers: {
      Authorization: `Bearer ${process.env.TOKEN}`,
      "Content-Type": "application/json",
      "Idempotency-Key": key,
    },
    body: JSON.stringify({ topic, data }),
  });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  return (await response.json()).events[0].id;
}

const first = await publish("event:order_paid", { order: 42 }, "order-42-paid");
const again = await publish("event:order_paid", { order: 42 }, "order-42-paid");
console.log(first === again ? "published once" : "published twice");
