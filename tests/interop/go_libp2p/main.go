// A go-libp2p peer that does what it is told, a JSON object a line, and answers in the same way.
// What the orders mean is written in tests/interop/README.md.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

const (
	pieceBytes    = 32768
	frameBytesMax = 4 << 20
)

type order struct {
	Do       string `json:"do"`
	Target   string `json:"target"`
	Protocol string `json:"protocol"`
	Topic    string `json:"topic"`
	Data     string `json:"data"`
	Size     int    `json:"size"`
}

type object map[string]any

// Events come from other goroutines than answers; a line must stay whole.
var (
	outLock sync.Mutex
	out     = json.NewEncoder(os.Stdout)
)

func say(line object) {
	outLock.Lock()
	defer outLock.Unlock()
	if err := out.Encode(line); err != nil {
		os.Exit(1)
	}
}

type goPeer struct {
	host   host.Host
	pubsub *pubsub.PubSub
	topics map[string]*pubsub.Topic
}

func start(ctx context.Context) (*goPeer, error) {
	node, err := libp2p.New(
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.DisableRelay(),
	)
	if err != nil {
		return nil, err
	}
	node.Network().Notify(&network.NotifyBundle{
		DisconnectedF: func(network.Network, network.Conn) { say(object{"event": "disconnect"}) },
	})
	// A mesh takes a heartbeat to form, and what is published before then would reach nobody.
	router, err := pubsub.NewGossipSub(ctx, node, pubsub.WithFloodPublish(true))
	if err != nil {
		return nil, err
	}
	return &goPeer{host: node, pubsub: router, topics: map[string]*pubsub.Topic{}}, nil
}

func (p *goPeer) address() string {
	return fmt.Sprintf("%s/p2p/%s", p.host.Addrs()[0], p.host.ID())
}

// stream opens a stream, and a connection where there is none.
func (p *goPeer) stream(ctx context.Context, o order) (network.Stream, error) {
	info, err := peer.AddrInfoFromString(o.Target)
	if err != nil {
		return nil, err
	}
	if err := p.host.Connect(ctx, *info); err != nil {
		return nil, err
	}
	return p.host.NewStream(ctx, info.ID, protocol.ID(o.Protocol))
}

func (p *goPeer) dial(ctx context.Context, o order) (object, error) {
	info, err := peer.AddrInfoFromString(o.Target)
	if err != nil {
		return nil, err
	}
	if err := p.host.Connect(ctx, *info); err != nil {
		return nil, err
	}
	state := p.host.Network().ConnsToPeer(info.ID)[0].ConnState()
	return object{"muxer": state.StreamMultiplexer, "encryption": state.Security}, nil
}

func (p *goPeer) identify(ctx context.Context, _ order) (object, error) {
	for {
		for _, conn := range p.host.Network().Conns() {
			known, err := p.host.Peerstore().GetProtocols(conn.RemotePeer())
			if err != nil {
				return nil, err
			}
			if len(known) > 0 {
				return object{"protocols": known}, nil
			}
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
}

func (p *goPeer) ping(ctx context.Context, o order) (object, error) {
	info, err := peer.AddrInfoFromString(o.Target)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	result := <-ping.Ping(ctx, p.host, info.ID)
	return object{"ms": float64(result.RTT.Microseconds()) / 1000}, result.Error
}

// exchange sends a body of a known pattern as one request and reads the answer to it.
func (p *goPeer) exchange(ctx context.Context, o order) (object, error) {
	stream, err := p.stream(ctx, o)
	if err != nil {
		return nil, err
	}
	defer stream.Reset()
	body := pattern(o.Size)
	frame := binary.BigEndian.AppendUint32(nil, uint32(o.Size))
	frame = append(frame, body...)
	sent := make(chan error, 1)
	go func() { sent <- writePieces(stream, frame) }()
	answer := make([]byte, 4+1+o.Size)
	if _, err := io.ReadFull(stream, answer); err != nil {
		return nil, err
	}
	if err := <-sent; err != nil {
		return nil, err
	}
	return object{"sent": sha(body), "received": sha(answer[5:]), "status": answer[4]}, nil
}

// halfClose ends its own direction after the body, and reads the other one to its end.
func (p *goPeer) halfClose(ctx context.Context, o order) (object, error) {
	stream, err := p.stream(ctx, o)
	if err != nil {
		return nil, err
	}
	body := pattern(o.Size)
	if err := writePieces(stream, body); err != nil {
		return nil, err
	}
	if err := stream.CloseWrite(); err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(stream)
	if err != nil {
		return nil, err
	}
	return object{"sent": sha(body), "received": sha(answer)}, stream.Close()
}

func (p *goPeer) reset(ctx context.Context, o order) (object, error) {
	stream, err := p.stream(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := writePieces(stream, pattern(o.Size)); err != nil {
		return nil, err
	}
	return object{}, stream.Reset()
}

// drain reads until the other side ends the stream, one way or the other.
func (p *goPeer) drain(ctx context.Context, o order) (object, error) {
	stream, err := p.stream(ctx, o)
	if err != nil {
		return nil, err
	}
	defer stream.Reset()
	count, err := io.Copy(io.Discard, stream)
	end := "closed"
	if errors.Is(err, network.ErrReset) {
		end, err = "reset", nil
	}
	return object{"bytes": count, "end": end}, err
}

func (p *goPeer) mirror(_ context.Context, o order) (object, error) {
	p.host.SetStreamHandler(protocol.ID(o.Protocol), func(stream network.Stream) {
		for {
			if err := mirrorFrame(stream); err != nil {
				stream.Reset()
				return
			}
		}
	})
	return object{}, nil
}

// mirrorFrame reads one frame whole before it answers: who writes first may not read meanwhile.
func mirrorFrame(stream io.ReadWriter) error {
	frame := make([]byte, 4)
	if _, err := io.ReadFull(stream, frame); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(frame)
	if size > frameBytesMax {
		return fmt.Errorf("a frame of %d bytes", size)
	}
	frame = append(frame, make([]byte, size)...)
	if _, err := io.ReadFull(stream, frame[4:]); err != nil {
		return err
	}
	return writePieces(stream, frame)
}

func (p *goPeer) subscribe(ctx context.Context, o order) (object, error) {
	topic, err := p.pubsub.Join(o.Topic)
	if err != nil {
		return nil, err
	}
	subscription, err := topic.Subscribe()
	if err != nil {
		return nil, err
	}
	p.topics[o.Topic] = topic
	go func() {
		for {
			message, err := subscription.Next(context.Background())
			if err != nil {
				return
			}
			if message.GetFrom() != p.host.ID() {
				say(object{"event": "message", "topic": o.Topic, "data": hex.EncodeToString(message.Data)})
			}
		}
	}()
	for len(topic.ListPeers()) == 0 {
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
	return object{}, nil
}

func (p *goPeer) publish(ctx context.Context, o order) (object, error) {
	topic, found := p.topics[o.Topic]
	if !found {
		return nil, fmt.Errorf("not subscribed to %s", o.Topic)
	}
	data, err := hex.DecodeString(o.Data)
	if err != nil {
		return nil, err
	}
	return object{}, topic.Publish(ctx, data)
}

func (p *goPeer) disconnect(_ context.Context, _ order) (object, error) {
	for _, id := range p.host.Network().Peers() {
		if err := p.host.Network().ClosePeer(id); err != nil {
			return nil, err
		}
	}
	return object{}, nil
}

func writePieces(w io.Writer, data []byte) error {
	for len(data) > 0 {
		piece := data[:min(pieceBytes, len(data))]
		if _, err := w.Write(piece); err != nil {
			return err
		}
		data = data[len(piece):]
	}
	return nil
}

func pattern(size int) []byte {
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(i*7 + i>>8)
	}
	return body
}

func sha(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(20 * time.Millisecond):
		return nil
	}
}

func main() {
	ctx := context.Background()
	p, err := start(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	orders := map[string]func(context.Context, order) (object, error){
		"dial": p.dial, "identify": p.identify, "ping": p.ping, "exchange": p.exchange,
		"half_close": p.halfClose, "reset": p.reset, "drain": p.drain, "mirror": p.mirror,
		"subscribe": p.subscribe, "publish": p.publish, "disconnect": p.disconnect,
	}
	say(object{"event": "ready", "address": p.address()})
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var o order
		if err := json.Unmarshal(line, &o); err != nil {
			say(object{"error": err.Error()})
			continue
		}
		do, found := orders[o.Do]
		if !found {
			say(object{"error": "no order " + o.Do})
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, 60*time.Second)
		answer, err := do(bounded, o)
		cancel()
		if err != nil {
			say(object{"error": err.Error()})
		} else {
			say(object{"answer": answer})
		}
	}
}
