// A member by centrifuge-go. Arguments, commands and events: ../member.ts.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

type fields map[string]any

var writing sync.Mutex

func say(event string, told fields) {
	told["event"] = event
	line, err := json.Marshal(told)
	if err != nil {
		panic(err)
	}
	writing.Lock()
	defer writing.Unlock()
	fmt.Println(string(line))
}

func readToken(tokens string) (string, error) {
	response, err := http.Get(tokens)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	token, err := io.ReadAll(response.Body)
	return string(token), err
}

func perform(subscription *centrifuge.Subscription, name, argument string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	switch name {
	case "publish":
		if _, err := subscription.Publish(ctx, []byte(argument)); err != nil {
			return err
		}
		say("published", fields{})
	case "presence":
		result, err := subscription.Presence(ctx)
		if err != nil {
			return err
		}
		users := []string{}
		for _, info := range result.Clients {
			users = append(users, info.User)
		}
		say("presence", fields{"users": users})
	default:
		result, err := subscription.History(ctx, centrifuge.WithHistoryLimit(-1))
		if err != nil {
			return err
		}
		data := []json.RawMessage{}
		for _, publication := range result.Publications {
			data = append(data, publication.Data)
		}
		say("history", fields{"offset": result.Offset, "data": data})
	}
	return nil
}

func main() {
	form, url, tokens, room := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	config := centrifuge.Config{
		GetToken:          func(centrifuge.ConnectionTokenEvent) (string, error) { return readToken(tokens) },
		MaxReconnectDelay: 500 * time.Millisecond,
		// By default 1 s, which is little for a busy machine.
		HandshakeTimeout: 10 * time.Second,
		WriteTimeout:     10 * time.Second,
	}
	client := centrifuge.NewJsonClient(url, config)
	if form == "protobuf" {
		client = centrifuge.NewProtobufClient(url, config)
	}
	client.OnConnected(func(centrifuge.ConnectedEvent) { say("connected", fields{}) })
	client.OnConnecting(func(event centrifuge.ConnectingEvent) { say("connecting", fields{"code": event.Code}) })
	client.OnDisconnected(func(event centrifuge.DisconnectedEvent) { say("disconnected", fields{"code": event.Code}) })
	subscription, err := client.NewSubscription(room)
	if err != nil {
		panic(err)
	}
	subscription.OnSubscribed(func(event centrifuge.SubscribedEvent) {
		say("subscribed", fields{"wasRecovering": event.WasRecovering, "recovered": event.Recovered})
	})
	subscription.OnUnsubscribed(func(event centrifuge.UnsubscribedEvent) { say("unsubscribed", fields{"code": event.Code}) })
	subscription.OnPublication(func(event centrifuge.PublicationEvent) {
		say("publication", fields{"data": json.RawMessage(event.Data), "offset": event.Offset})
	})
	if err := subscription.Subscribe(); err != nil {
		panic(err)
	}
	if err := client.Connect(); err != nil {
		panic(err)
	}
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		name, argument, _ := strings.Cut(input.Text(), " ")
		if err := perform(subscription, name, argument); err != nil {
			say("failed", fields{"reason": err.Error()})
		}
	}
}
