// The scenario groups with redigo: redigo HOST PORT PROTOCOL PREFIX. Prints `version …`, then `ok GROUP` or
// `fail GROUP: why` for each group; prints `restart` and waits for a line where the server shall be restarted.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

var (
	address = os.Args[1] + ":" + os.Args[2]
	p       = os.Args[4]
	t       = "{" + p + "}" // keys with it share a slot, keys without do not
	ok      = "OK"
)

func dial(options ...redis.DialOption) redis.Conn {
	options = append([]redis.DialOption{redis.DialConnectTimeout(5 * time.Second), redis.DialReadTimeout(20 * time.Second)}, options...)
	c, err := redis.Dial("tcp", address, options...)
	if err != nil {
		panic(err)
	}
	return c
}

// plain turns what redigo gives into strings, numbers and lists.
func plain(reply interface{}) interface{} {
	switch reply := reply.(type) {
	case []byte:
		return string(reply)
	case int64:
		return int(reply)
	case redis.Error:
		return "!" + string(reply)
	case []interface{}:
		list := make([]interface{}, len(reply))
		for i, element := range reply {
			list[i] = plain(element)
		}
		return list
	}
	return reply
}

func list(elements ...interface{}) []interface{} { return elements }

func equal(what string, got, wanted interface{}) {
	if !reflect.DeepEqual(got, wanted) {
		panic(fmt.Sprintf("%s: got %v, wanted %v", what, got, wanted))
	}
}

func is(c redis.Conn, wanted interface{}, command string, args ...interface{}) {
	reply, err := c.Do(command, args...)
	if err != nil {
		panic(fmt.Sprintf("%s %v: %v", command, args, err))
	}
	equal(fmt.Sprint(command, args), plain(reply), wanted)
}

func raises(c redis.Conn, part, command string, args ...interface{}) {
	reply, err := c.Do(command, args...)
	if err == nil || !strings.Contains(err.Error(), part) {
		panic(fmt.Sprintf("%s %v: got %v and the error %v instead of one with %s", command, args, plain(reply), err, part))
	}
}

func soon(command string, args ...interface{}) {
	go func() {
		time.Sleep(50 * time.Millisecond)
		c := dial()
		defer c.Close()
		c.Do(command, args...)
	}()
}

type group struct {
	name string
	run  func(c redis.Conn)
}

var groups = []group{
	{"connect", func(c redis.Conn) {
		named := dial(redis.DialClientName("table"), redis.DialDatabase(0), redis.DialKeepAlive(time.Minute))
		defer named.Close()
		is(named, "table", "CLIENT", "GETNAME")
		is(named, "PONG", "PING")
		is(named, "x", "ECHO", "x")
		url, err := redis.DialURL("redis://" + address + "/0")
		if err != nil {
			panic(err)
		}
		defer url.Close()
		is(url, ok, "SELECT", 0)
		raises(c, "unknown command", "NOSUCHCOMMAND", "a")
	}},
	{"strings", func(c redis.Conn) {
		is(c, ok, "SET", p+":s", "v")
		is(c, "v", "GET", p+":s")
		is(c, nil, "GET", p+":none")
		is(c, nil, "SET", p+":s", "w", "NX")
		is(c, ok, "SETEX", p+":s", 100, "w")
		is(c, 5, "INCRBY", p+":n", 5)
		is(c, ok, "MSET", p+":1", "a", p+":2", "b", p+":3", "c")
		is(c, list("a", nil, "b", "c"), "MGET", p+":1", p+":none", p+":2", p+":3")
		is(c, 3, "DEL", p+":1", p+":2", p+":3", p+":none")
		raises(c, "not an integer", "INCR", p+":s")
	}},
	{"hashes", func(c redis.Conn) {
		is(c, 2, "HSET", redis.Args{}.Add(p+":h").AddFlat([]string{"a", "1", "b", "2"})...)
		all, err := redis.StringMap(c.Do("HGETALL", p+":h"))
		equal("HGETALL", fmt.Sprintf("%v %v", all, err), "map[a:1 b:2] <nil>")
		is(c, list("1", nil), "HMGET", p+":h", "a", "z")
		is(c, 5, "HINCRBY", p+":h", "a", 4)
		is(c, 1, "HDEL", p+":h", "b")
		is(c, list("0", list("a", "5")), "HSCAN", p+":h", 0)
	}},
	{"lists", func(c redis.Conn) {
		is(c, 2, "RPUSH", p+":l", "b", "c")
		is(c, 3, "LPUSH", p+":l", "a")
		is(c, list("a", "b", "c"), "LRANGE", p+":l", 0, -1)
		is(c, "a", "LPOP", p+":l")
		is(c, list("c", "b"), "RPOP", p+":l", 2)
		is(c, nil, "LPOP", p+":l")
	}},
	{"sets", func(c redis.Conn) {
		is(c, 2, "SADD", t+"1", "a", "b")
		is(c, 2, "SADD", t+"2", "b", "c")
		is(c, list("b"), "SINTER", t+"1", t+"2")
		is(c, list(1, 0), "SMISMEMBER", t+"1", "a", "z")
	}},
	{"sorted-sets", func(c redis.Conn) {
		is(c, 2, "ZADD", t+"z", 1, "a", 2.5, "b")
		is(c, "3", "ZINCRBY", t+"z", 2, "a")
		is(c, list("b", "2.5", "a", "3"), "ZRANGE", t+"z", 0, -1, "WITHSCORES")
		is(c, list("b", "2.5"), "ZPOPMIN", t+"z")
	}},
	{"streams", func(c redis.Conn) {
		entry := list("1-1", list("f", "1"))
		is(c, "1-1", "XADD", p+":x", "1-1", "f", 1)
		is(c, list(entry), "XRANGE", p+":x", "-", "+")
		is(c, ok, "XGROUP", "CREATE", p+":x", "g", 0)
		is(c, list(list(p+":x", list(entry))), "XREADGROUP", "GROUP", "g", "me", "STREAMS", p+":x", ">")
		is(c, 1, "XACK", p+":x", "g", "1-1")
	}},
	{"pipelines", func(c redis.Conn) {
		for i := 0; i < 200; i++ {
			c.Send("SET", fmt.Sprint(p, ":p", i), i)
		}
		for i := 0; i < 200; i++ {
			c.Send("GET", fmt.Sprint(p, ":p", i))
		}
		c.Flush()
		for i := 0; i < 400; i++ {
			reply, err := c.Receive()
			wanted := ok
			if i >= 200 {
				wanted = fmt.Sprint(i - 200)
			}
			equal("pipeline", fmt.Sprintf("%v %v", plain(reply), err), wanted+" <nil>")
		}
	}},
	{"transactions", func(c redis.Conn) {
		c.Send("MULTI")
		c.Send("SET", t+"t", "1")
		c.Send("INCR", t+"t")
		is(c, list(ok, 2), "EXEC")
		is(c, ok, "MULTI")
		is(c, "QUEUED", "SET", t+"t", "x")
		is(c, ok, "DISCARD")
		is(c, "2", "GET", t+"t")
		is(c, ok, "MULTI")
		is(c, "QUEUED", "LPUSH", t+"t", "x")
		is(c, "QUEUED", "INCR", t+"t")
		is(c, list("!WRONGTYPE Operation against a key holding the wrong kind of value", 3), "EXEC")
		is(c, ok, "MULTI")
		raises(c, "wrong number", "INCR", t+"t", "too", "many")
		raises(c, "EXECABORT", "EXEC")
		raises(c, "EXEC without MULTI", "EXEC")
	}},
	{"watch", func(c redis.Conn) {
		other := dial()
		defer other.Close()
		is(other, ok, "SET", t+"w", 1)
		tries := []int{}
		for done := interface{}(nil); done == nil; {
			is(c, ok, "WATCH", t+"w")
			value, err := redis.Int(c.Do("GET", t+"w"))
			if err != nil {
				panic(err)
			}
			tries = append(tries, value)
			if len(tries) == 1 {
				is(other, ok, "SET", t+"w", 10)
			}
			c.Send("MULTI")
			c.Send("SET", t+"w", value+1)
			if done, err = c.Do("EXEC"); err != nil {
				panic(err)
			}
		}
		equal("tries", tries, []int{1, 10})
		is(other, "11", "GET", t+"w")
		is(c, ok, "WATCH", t+"w")
		is(c, ok, "UNWATCH")
	}},
	{"scripts", func(c redis.Conn) {
		script := redis.NewScript(1, "return {KEYS[1], ARGV[1], '"+p+"'}")
		for i := 0; i < 2; i++ {
			reply, err := script.Do(c, p+":e", "a")
			equal("script", fmt.Sprintf("%v %v", plain(reply), err), fmt.Sprintf("[%s:e a %s] <nil>", p, p))
		}
		is(c, "x", "EVAL", "return ARGV[1]", 0, "x")
		if err := script.Load(c); err != nil {
			panic(err)
		}
		is(c, list(1), "SCRIPT", "EXISTS", script.Hash())
		raises(c, "NOSCRIPT", "EVALSHA", strings.Repeat("0", 40), 1, p+":e")
	}},
	{"blocking", func(c redis.Conn) {
		is(c, nil, "BLPOP", t+"b", 0.1)
		soon("RPUSH", t+"b", "late")
		is(c, list(t+"b", "late"), "BLPOP", t+"b", 0)
		soon("RPUSH", p+":q2", "late")
		is(c, list(p+":q2", "late"), "BRPOP", p+":q1", p+":q2", 0)
		is(c, 1, "RPUSH", t+"b", "m")
		is(c, "m", "BLMOVE", t+"b", t+"b2", "LEFT", "RIGHT", 1)
	}},
	{"pubsub", func(c redis.Conn) {
		other := dial()
		defer other.Close()
		subscriber := redis.PubSubConn{Conn: c}
		receive := func(wanted interface{}) { equal("receive", subscriber.Receive(), wanted) }
		subscriber.Subscribe(p + ":c1")
		receive(redis.Subscription{Kind: "subscribe", Channel: p + ":c1", Count: 1})
		subscriber.PSubscribe(p + ":*")
		receive(redis.Subscription{Kind: "psubscribe", Channel: p + ":*", Count: 2})
		is(other, 2, "PUBLISH", p+":c1", "hello")
		receive(redis.Message{Channel: p + ":c1", Data: []byte("hello")})
		receive(redis.Message{Pattern: p + ":*", Channel: p + ":c1", Data: []byte("hello")})
		subscriber.Ping("x")
		receive(redis.Pong{Data: "x"})
		subscriber.Unsubscribe()
		receive(redis.Subscription{Kind: "unsubscribe", Channel: p + ":c1", Count: 1})
		subscriber.PUnsubscribe()
		receive(redis.Subscription{Kind: "punsubscribe", Channel: p + ":*", Count: 0})
	}},
	{"scan", func(c redis.Conn) {
		wanted := []string{}
		for i := 0; i < 300; i++ {
			wanted = append(wanted, fmt.Sprint(p, ":scan:", i))
			is(c, ok, "SET", wanted[i], 1)
		}
		found := map[string]bool{}
		for cursor := "0"; ; {
			reply, err := redis.Values(c.Do("SCAN", cursor, "MATCH", p+":scan:*", "COUNT", 50))
			if err != nil {
				panic(err)
			}
			keys, _ := redis.Strings(reply[1], nil)
			for _, key := range keys {
				found[key] = true
			}
			if cursor, _ = redis.String(reply[0], nil); cursor == "0" {
				break
			}
		}
		got := []string{}
		for key := range found {
			got = append(got, key)
		}
		sort.Strings(got)
		sort.Strings(wanted)
		equal("SCAN", got, wanted)
	}},
	{"large", func(c redis.Conn) {
		value := strings.Repeat("0123456789abcdef", 1<<20)
		is(c, ok, "SET", p+":large", value)
		got, err := redis.String(c.Do("GET", p+":large"))
		if err != nil || got != value {
			panic(errors.New("another value"))
		}
		is(c, 1, "DEL", p+":large")
	}},
	{"reconnect", func(c redis.Conn) {
		pool := &redis.Pool{
			MaxIdle:      3,
			Dial:         func() (redis.Conn, error) { return redis.Dial("tcp", address) },
			TestOnBorrow: func(c redis.Conn, _ time.Time) error { _, err := c.Do("PING"); return err },
		}
		defer pool.Close()
		first := pool.Get()
		is(first, ok, "SET", p+":r", 1)
		first.Close()
		fmt.Println("restart")
		bufio.NewReader(os.Stdin).ReadString('\n')
		second := pool.Get()
		defer second.Close()
		is(second, ok, "SET", p+":r", 2)
		is(second, "2", "GET", p+":r")
	}},
}

func run(g group) (why interface{}) {
	defer func() { why = recover() }()
	c := dial()
	defer c.Close()
	g.run(c)
	return nil
}

func main() {
	// The package does not say its version; Debian's does.
	fmt.Println("version", os.Getenv("SLOTWAY_TEST_REDIGO_VERSION"))
	for _, g := range groups {
		if why := run(g); why != nil {
			line := strings.Join(strings.Fields(fmt.Sprint(why)), " ")
			if len(line) > 600 {
				line = line[:600]
			}
			fmt.Printf("fail %s: %s\n", g.name, line)
		} else {
			fmt.Println("ok", g.name)
		}
	}
}
