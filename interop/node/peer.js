// grpc.testing.TestService on grpc-js, in both roles, against the project's `interop-server` and `interop-client`.
//
//   node peer.js server --port N [--use_tls=true --tls_cert_file F --tls_key_file F]
//   node peer.js client --server_port N [--server_host H] [--test_case C|all] [--use_tls=true --ca_file F --server_host_override H]
//
// Needs NODE_PATH to name the modules of package.json; `cargo xtask peers` installs them. Cases do what the grpc project describes; those
// of compression are for channels that compress by gzip and by deflate. The client prints one line for each case and exits 1 when one
// failed. Left out: ORCA, soak, credentials.
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { parseArgs } = require('node:util');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const PROTOS = path.join(__dirname, '..', '..', 'proto');
const ECHO_INITIAL = 'x-grpc-test-echo-initial';
const ECHO_TRAILING = 'x-grpc-test-echo-trailing-bin';
const REQUESTS = [27182, 8, 1828, 45904];
const RESPONSES = [31415, 9, 2653, 58979];
const LARGE_REQUEST = 271828;
const LARGE_RESPONSE = 314159;
const SPECIAL_MESSAGE = '\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \u{1f608}\t\n';
// No case takes this long against a server that answers.
const PATIENCE_MS = 20_000;
// As grpc-js numbers them.
const ALGORITHMS = { deflate: 1, gzip: 2 };

const definition = loader.loadSync('grpc/testing/test.proto', { includeDirs: [PROTOS], keepCase: true, defaults: true });
const { TestService, UnimplementedService } = grpc.loadPackageDefinition(definition).grpc.testing;

const zeros = (octets) => ({ body: Buffer.alloc(octets) });
const wanted = (size) => ({ size });
const ping = (octets, answer) => ({ payload: zeros(octets), response_parameters: [wanted(answer)] });

// ---- The server.

function echoed(call) {
  const [initial] = call.metadata.get(ECHO_INITIAL);
  if (initial !== undefined) {
    const metadata = new grpc.Metadata();
    metadata.set(ECHO_INITIAL, initial);
    call.sendMetadata(metadata);
  }
  const trailers = new grpc.Metadata();
  const [trailing] = call.metadata.get(ECHO_TRAILING);
  if (trailing !== undefined) {
    trailers.set(ECHO_TRAILING, trailing);
  }
  return trailers;
}

// The error a request asks for, if it asks.
function asked(request, metadata) {
  const { code, message } = request.response_status ?? { code: 0 };
  return code === 0 ? null : { code, details: message, metadata };
}

async function answer(call, request) {
  for (const { size, interval_us: micros } of request.response_parameters) {
    if (micros > 0) {
      await new Promise((resolve) => setTimeout(resolve, micros / 1000));
    }
    if (call.cancelled) {
      return;
    }
    if (!call.write({ payload: zeros(size) })) {
      // A call that ends meanwhile drains no more.
      await new Promise((resolve) => call.once('drain', resolve).once('close', resolve).once('cancelled', resolve));
    }
  }
}

const unary = (call, callback) => {
  const trailers = echoed(call);
  callback(asked(call.request, trailers), { payload: zeros(call.request.response_size) }, trailers);
};

const service = {
  EmptyCall: (call, callback) => callback(null, {}, echoed(call)),
  UnaryCall: unary,
  CacheableUnaryCall: unary,
  UnimplementedCall: (call, callback) => callback({ code: grpc.status.UNIMPLEMENTED, details: 'never implemented' }),
  async StreamingOutputCall(call) {
    const trailers = echoed(call);
    await answer(call, call.request);
    const error = asked(call.request, trailers);
    if (error) {
      call.emit('error', error);
    } else {
      call.end(trailers);
    }
  },
  StreamingInputCall(call, callback) {
    const trailers = echoed(call);
    let sum = 0;
    call.on('data', (request) => (sum += request.payload.body.length));
    call.on('end', () => callback(null, { aggregated_payload_size: sum }, trailers));
    call.on('error', () => {});
  },
  // An iterator that ends would destroy the stream, and with it the other direction.
  FullDuplexCall: (call) => duplex(call, (each) => each(call.iterator({ destroyOnReturn: false }))),
  HalfDuplexCall: (call) => duplex(call, async (each) => each(await all(call.iterator({ destroyOnReturn: false })))),
};

async function duplex(call, order) {
  const trailers = echoed(call);
  try {
    await order(async (requests) => {
      for await (const request of requests) {
        const error = asked(request, trailers);
        if (error) {
          throw error;
        }
        await answer(call, request);
      }
    });
    call.end(trailers);
  } catch (error) {
    call.emit('error', error);
  }
}

async function all(stream) {
  const messages = [];
  for await (const message of stream) {
    messages.push(message);
  }
  return messages;
}

function serve(flags) {
  const server = new grpc.Server();
  server.addService(TestService.service, service);
  const pem = (name) => fs.readFileSync(flags[name]);
  const credentials = flags.use_tls
    ? grpc.ServerCredentials.createSsl(null, [{ private_key: pem('tls_key_file'), cert_chain: pem('tls_cert_file') }])
    : grpc.ServerCredentials.createInsecure();
  server.bindAsync(`127.0.0.1:${flags.port}`, credentials, (error, port) => {
    if (error) {
      throw error;
    }
    console.log(`listening on 127.0.0.1:${port}`);
  });
}

// ---- The client.

const options = () => ({ deadline: Date.now() + PATIENCE_MS });

// A unary call or an upload: response, head and trailers. `upload` sends what there is to send.
function single(client, method, request, metadata = new grpc.Metadata(), upload = undefined) {
  return new Promise((resolve, reject) => {
    const outcome = {};
    const done = (error, response) => {
      outcome.response = response;
      return error ? reject(error) : undefined;
    };
    const call = upload
      ? client[method](metadata, options(), done)
      : client[method](request, metadata, options(), done);
    call.on('metadata', (head) => (outcome.head = head));
    call.on('status', ({ code, metadata: trailers }) => code === grpc.status.OK && resolve({ ...outcome, trailers }));
    upload?.(call);
  });
}

async function failsWith(code, act) {
  try {
    await act();
  } catch (error) {
    if (error instanceof assert.AssertionError) {
      throw error;
    }
    assert.equal(error.code, code, `${error}`);
    return error;
  }
  throw new assert.AssertionError({ message: `the call went well, want ${code}` });
}

async function largeUnary(client, fields = {}, metadata = undefined) {
  const request = { response_size: LARGE_RESPONSE, payload: zeros(LARGE_REQUEST), ...fields };
  const outcome = await single(client, 'UnaryCall', request, metadata);
  assert.ok(outcome.response.payload.body.equals(Buffer.alloc(LARGE_RESPONSE)), 'the payload');
  return outcome;
}

async function uploaded(client, messages) {
  const { response } = await single(client, 'StreamingInputCall', undefined, undefined, (call) => {
    messages.forEach((message) => call.write(message));
    call.end();
  });
  return response.aggregated_payload_size;
}

const sizes = async (stream) => (await all(stream)).map((message) => message.payload.body.length);

async function pingPong(client) {
  const call = client.FullDuplexCall(options());
  const answers = call[Symbol.asyncIterator]();
  for (const [n, octets] of REQUESTS.entries()) {
    call.write(ping(octets, RESPONSES[n]));
    const { value } = await answers.next();
    assert.equal(value.payload.body.length, RESPONSES[n]);
  }
  call.end();
  assert.ok((await answers.next()).done, 'the end');
}

async function statusComesBack(client, message) {
  const response_status = { code: grpc.status.UNKNOWN, message };
  const error = await failsWith(grpc.status.UNKNOWN, () => single(client, 'UnaryCall', { response_status }));
  assert.equal(error.details, message);
  const call = client.FullDuplexCall(options());
  call.write({ response_status });
  call.end();
  const streamed = await failsWith(grpc.status.UNKNOWN, () => all(call));
  assert.equal(streamed.details, message);
}

const hasEcho = (head, trailers, binary) => {
  assert.deepEqual(head.get(ECHO_INITIAL), ['test_initial_metadata_value']);
  assert.deepEqual(trailers.get(ECHO_TRAILING), [binary]);
};

async function customMetadata(client) {
  for (const binary of [Buffer.from([0xab, 0xab, 0xab]), Buffer.from([0]), Buffer.from([...Array(256).keys()])]) {
    const metadata = new grpc.Metadata();
    metadata.set(ECHO_INITIAL, 'test_initial_metadata_value');
    metadata.set(ECHO_TRAILING, binary);
    const { head, trailers } = await largeUnary(client, {}, metadata);
    hasEcho(head, trailers, binary);
    const call = client.FullDuplexCall(metadata, options());
    const came = new Promise((resolve) => call.on('metadata', resolve));
    const ended = new Promise((resolve) => call.on('status', resolve));
    call.write(ping(LARGE_REQUEST, LARGE_RESPONSE));
    call.end();
    assert.deepEqual(await sizes(call), [LARGE_RESPONSE]);
    hasEcho(await came, (await ended).metadata, binary);
  }
}

// Every kind of call on a channel that compresses, and requests that say whether they are.
async function compressed(flags, name) {
  const client = connect(TestService, flags, { 'grpc.default_compression_algorithm': ALGORITHMS[name] });
  try {
    const flag = (value) => ({ value });
    await largeUnary(client, { expect_compressed: flag(true), response_compressed: flag(true) });
    await largeUnary(client, { expect_compressed: flag(true), response_compressed: flag(false) });
    await failsWith(grpc.status.INVALID_ARGUMENT, () => largeUnary(client, { expect_compressed: flag(false) }));
    const upload = [27182, 45904].map((size) => ({ payload: zeros(size), expect_compressed: flag(true) }));
    assert.equal(await uploaded(client, upload), 27182 + 45904);
    const download = [
      { size: 31415, compressed: flag(true) },
      { size: 92653, compressed: flag(false) },
    ];
    const call = client.StreamingOutputCall({ response_parameters: download }, options());
    assert.deepEqual(await sizes(call), [31415, 92653]);
    await pingPong(client);
    await customMetadata(client);
  } finally {
    client.close();
  }
}

const CASES = {
  empty_unary: (client) => single(client, 'EmptyCall', {}),
  large_unary: (client) => largeUnary(client),
  async client_streaming(client) {
    assert.equal(await uploaded(client, REQUESTS.map((size) => ({ payload: zeros(size) }))), 74922);
  },
  async server_streaming(client) {
    const call = client.StreamingOutputCall({ response_parameters: RESPONSES.map(wanted) }, options());
    assert.deepEqual(await sizes(call), RESPONSES);
  },
  ping_pong: pingPong,
  async empty_stream(client) {
    const call = client.FullDuplexCall(options());
    call.end();
    assert.deepEqual(await all(call), []);
  },
  async timeout_on_sleeping_server(client) {
    const call = client.FullDuplexCall({ deadline: Date.now() + 1 });
    call.on('error', () => {});
    call.write({ payload: zeros(27182) });
    await failsWith(grpc.status.DEADLINE_EXCEEDED, () => all(call));
  },
  async cancel_after_begin(client) {
    await failsWith(grpc.status.CANCELLED, () => single(client, 'StreamingInputCall', null, undefined, (call) => call.cancel()));
    await single(client, 'EmptyCall', {});
  },
  async cancel_after_first_response(client) {
    const call = client.FullDuplexCall(options());
    call.write(ping(REQUESTS[0], RESPONSES[0]));
    await failsWith(grpc.status.CANCELLED, async () => {
      for await (const message of call) {
        assert.equal(message.payload.body.length, RESPONSES[0]);
        call.cancel();
      }
    });
    await single(client, 'EmptyCall', {});
  },
  status_code_and_message: (client) => statusComesBack(client, 'test status message'),
  special_status_message: (client) => statusComesBack(client, SPECIAL_MESSAGE),
  custom_metadata: customMetadata,
  unimplemented_method: (client) =>
    failsWith(grpc.status.UNIMPLEMENTED, () => single(client, 'UnimplementedCall', {})),
  async unimplemented_service(client, flags) {
    const other = connect(UnimplementedService, flags);
    await failsWith(grpc.status.UNIMPLEMENTED, () => single(other, 'UnimplementedCall', {}));
    other.close();
  },
  compressed_gzip: (client, flags) => compressed(flags, 'gzip'),
  compressed_deflate: (client, flags) => compressed(flags, 'deflate'),
};

function connect(Client, flags, more = {}) {
  const name = flags.server_host_override;
  const override = name ? { 'grpc.ssl_target_name_override': name, 'grpc.default_authority': name } : {};
  const credentials = flags.use_tls
    ? grpc.credentials.createSsl(fs.readFileSync(flags.ca_file))
    : grpc.credentials.createInsecure();
  return new Client(`${flags.server_host}:${flags.server_port}`, credentials, { ...override, ...more });
}

async function call(flags) {
  const client = connect(TestService, flags);
  for (const [name, act] of Object.entries(CASES)) {
    if (flags.test_case !== 'all' && flags.test_case !== name) {
      continue;
    }
    try {
      await act(client, flags);
      console.log(`${name}: ok`);
    } catch (error) {
      console.log(`${name}: FAILED: ${error.message.replaceAll('\n', ' ')}`);
      process.exitCode = 1;
    }
  }
  client.close();
}

// The official flags are `--name value`, `--name=value`, and `--name` for a switch.
const args = process.argv.slice(3).map((arg) => (arg === '--use_tls' || arg === '--use_test_ca' ? `${arg}=true` : arg));
const string = (fallback) => ({ type: 'string', default: fallback });
const { values } = parseArgs({
  args,
  options: {
    port: string('0'),
    server_host: string('127.0.0.1'),
    server_port: string('10000'),
    server_host_override: string(''),
    test_case: string('all'),
    use_tls: string('false'),
    use_test_ca: string('false'),
    ca_file: string(''),
    tls_cert_file: string(''),
    tls_key_file: string(''),
  },
});
const flags = { ...values, use_tls: values.use_tls === 'true' };
({ server: serve, client: call })[process.argv[2]](flags);
