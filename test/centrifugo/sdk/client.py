"""A member by centrifuge-python. Arguments, commands and events: ../member.ts."""

import asyncio
import json
import sys
import urllib.request

from centrifuge import CentrifugeError, Client, ClientEventHandler, SubscriptionEventHandler

form, url, tokens, room = sys.argv[1:]
is_binary = form == "protobuf"


def encode(value):
    return json.dumps(value).encode() if is_binary else value


def decode(data):
    return json.loads(data) if is_binary else data


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class ClientEvents(ClientEventHandler):
    async def on_connected(self, ctx):
        say("connected")

    async def on_connecting(self, ctx):
        say("connecting", code=ctx.code)

    async def on_disconnected(self, ctx):
        say("disconnected", code=ctx.code)


class SubscriptionEvents(SubscriptionEventHandler):
    async def on_subscribed(self, ctx):
        say("subscribed", wasRecovering=ctx.was_recovering, recovered=ctx.recovered)

    async def on_unsubscribed(self, ctx):
        say("unsubscribed", code=ctx.code)

    async def on_publication(self, ctx):
        say("publication", data=decode(ctx.pub.data), offset=ctx.pub.offset)


def read_token():
    with urllib.request.urlopen(tokens) as response:
        return response.read().decode()


async def get_token():
    return await asyncio.to_thread(read_token)


async def perform(subscription, name, argument):
    if name == "publish":
        await subscription.publish(encode(int(argument)))
        say("published")
    elif name == "presence":
        result = await subscription.presence()
        say("presence", users=[info.user for info in result.clients.values()])
    else:
        result = await subscription.history(limit=-1)
        say("history", offset=result.offset, data=[decode(each.data) for each in result.publications])


async def main():
    client = Client(
        url,
        events=ClientEvents(),
        get_token=get_token,
        use_protobuf=is_binary,
        max_reconnect_delay=0.5,
        proxy=None,
    )
    subscription = client.new_subscription(room, events=SubscriptionEvents())
    await client.connect()
    await subscription.subscribe()
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, _, argument = line.strip().partition(" ")
        try:
            await perform(subscription, name, argument)
        except CentrifugeError as error:
            say("failed", reason=repr(error))


asyncio.run(main())
