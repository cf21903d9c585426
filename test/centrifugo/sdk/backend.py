"""A backend with the library `cent`, unmodified: calls the methods of the server API, and prints what each answers as JSON."""
import json
import sys

from cent import (
    BroadcastRequest,
    CentApiResponseError,
    ChannelsRequest,
    Client,
    DisconnectRequest,
    HistoryRequest,
    InfoRequest,
    PresenceRequest,
    PresenceStatsRequest,
    PublishRequest,
    StreamPosition,
    SubscribeRequest,
    UnsubscribeRequest,
)

url, key, room = sys.argv[1:]
client = Client(url, key)


def tell(name, result):
    print(json.dumps({name: result.model_dump(exclude_none=True)}), flush=True)


published = client.publish(PublishRequest(channel=room, data={"from": "cent"}, idempotency_key="1"))
tell("publish", published)
tell("broadcast", client.broadcast(BroadcastRequest(channels=[room, room + "-2"], data=2)))
tell("presence", client.presence(PresenceRequest(channel=room)))
tell("presence_stats", client.presence_stats(PresenceStatsRequest(channel=room)))
since = StreamPosition(offset=1, epoch=published.epoch)
tell("history", client.history(HistoryRequest(channel=room, limit=10, since=since)))
tell("channels", client.channels(ChannelsRequest(pattern=room)))
tell("info", client.info(InfoRequest()))
tell("subscribe", client.subscribe(SubscribeRequest(user="guest", channel=room + "-3")))
tell("unsubscribe", client.unsubscribe(UnsubscribeRequest(user="guest", channel=room + "-3")))
tell("disconnect", client.disconnect(DisconnectRequest(user="guest")))
try:
    client.publish(PublishRequest(channel="no room", data=1))
except CentApiResponseError as error:
    print(json.dumps({"refused": error.code}), flush=True)
