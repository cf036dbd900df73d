#include "server/service/tls_listener.h"

#include <fmt/format.h>
#include <openssl/ssl.h>

#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <utility>

#include "proto/support/status_macros.h"
#include "proto/support/x509.h"
#include "server/service/peer_identity.h"
#include "server/service/relay.h"

namespace kdbg::service {
namespace {

using Acceptor = asio::ip::tcp::acceptor;
using TcpSocket = asio::ip::tcp::socket;

// HTTP/2 or nothing.
int SelectProtocol(SSL*, const unsigned char** out, unsigned char* out_size,
                   const unsigned char* offered, unsigned int offered_size, void*) {
  static constexpr unsigned char kHttp2[] = {2, 'h', '2'};
  unsigned char* selected = nullptr;
  if (SSL_select_next_proto(&selected, out_size, kHttp2, sizeof kHttp2, offered, offered_size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = selected;
  return SSL_TLSEXT_ERR_OK;
}

absl::Status AddAuthorities(SSL_CTX* context, const access::TlsMaterial& material) {
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  KDBG_ASSIGN_OR_RETURN(const std::vector<Certificate> authorities,
                        CertificatesFromPem(material.client_authority_pem));
  for (const Certificate& authority : authorities) {
    if (X509_STORE_add_cert(store, authority.get()) != 1 ||
        SSL_CTX_add_client_CA(context, authority.get()) != 1) {
      return absl::InternalError(OpenSslError());
    }
  }
  if (material.client_crl_pem.empty()) return absl::OkStatus();
  KDBG_ASSIGN_OR_RETURN(const RevocationList list, RevocationListFromPem(material.client_crl_pem));
  if (X509_STORE_add_crl(store, list.get()) != 1 ||
      X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) != 1) {
    return absl::InternalError(OpenSslError());
  }
  return absl::OkStatus();
}

// A certificate need not come, but one that comes must be good. Sessions are not resumed: that
// would skip looking at it.
absl::StatusOr<std::shared_ptr<asio::ssl::context>> MakeContext(
    const access::TlsMaterial& material) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  SSL_CTX* native = context->native_handle();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_options(native, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                  SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_num_tickets(native, 0);
  SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_verify(native, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_verify_depth(native, 4);
  SSL_CTX_set_alpn_select_cb(native, &SelectProtocol, nullptr);
  // The ciphers that HTTP/2 allows (RFC 7540, 9.2.2).
  SSL_CTX_set_cipher_list(native, "ECDHE+AESGCM:ECDHE+CHACHA20");
  std::error_code error;
  context->use_certificate_chain(asio::buffer(material.chain_pem), error);
  if (!error) {
    context->use_private_key(asio::buffer(material.key_pem), asio::ssl::context::pem, error);
  }
  if (error) return absl::InternalError(fmt::format("TLS key: {}", error.message()));
  KDBG_RETURN_IF_ERROR(AddAuthorities(native, material));
  return context;
}

std::string Group(const asio::ip::address& address) {
  if (!address.is_v6()) return address.to_string();
  asio::ip::address_v6::bytes_type bytes = address.to_v6().to_bytes();
  if (address.to_v6().is_v4_mapped()) {
    return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).to_string();
  }
  std::fill(bytes.begin() + 8, bytes.end(), static_cast<unsigned char>(0));
  return asio::ip::make_address_v6(bytes).to_string();
}

std::optional<access::CertificateClaim> ClaimOf(SSL* tls) {
  const Certificate certificate(SSL_get1_peer_certificate(tls));
  if (!certificate || SSL_get_verify_result(tls) != X509_V_OK) return std::nullopt;
  return access::CertificateClaim{.common_name = CommonNameOf(certificate.get()),
                                  .serial = SerialNumberOf(certificate.get()),
                                  .expire_time = ExpireTimeOf(certificate.get())};
}

}  // namespace

// All but what is said otherwise belongs to the one thread.
class TlsListener::Impl {
 public:
  Impl(const access::TlsKeys& keys, const access::EnrolledUsers& users, ConnectionBook& book,
       PrivateSockets sockets, const TlsLimits& limits)
      : keys_(keys),
        users_(users),
        book_(book),
        sockets_(std::move(sockets)),
        limits_(limits),
        next_connection_(FirstConnectionNumber()) {}

  ~Impl() {
    StopAccepting();
    context_.stop();
    if (thread_.joinable()) thread_.join();
  }

  absl::Status Open(const std::vector<config::TcpAddress>& addresses) {
    KDBG_RETURN_IF_ERROR(RefreshTls());
    for (const config::TcpAddress& address : addresses) {
      const asio::ip::tcp::endpoint endpoint(asio::ip::make_address(address.host),
                                             static_cast<std::uint16_t>(address.port));
      auto acceptor = std::make_unique<Acceptor>(context_);
      std::error_code error;
      acceptor->open(endpoint.protocol(), error);
      if (!error) acceptor->set_option(asio::socket_base::reuse_address(true), error);
      // So that "[::]" and "0.0.0.0" may stand side by side.
      if (!error && endpoint.protocol() == asio::ip::tcp::v6()) {
        acceptor->set_option(asio::ip::v6_only(true), error);
      }
      if (!error) acceptor->bind(endpoint, error);
      if (!error) acceptor->listen(asio::socket_base::max_listen_connections, error);
      if (error) {
        return absl::UnavailableError(
            fmt::format("cannot listen on {}:{}: {}", address.host, address.port, error.message()));
      }
      ports_.push_back(acceptor->local_endpoint().port());
      acceptors_.push_back(std::move(acceptor));
    }
    return absl::OkStatus();
  }

  void Run() {
    for (const auto& acceptor : acceptors_) {
      asio::co_spawn(
          context_,
          AcceptAll(context_, *acceptor, [this](TcpSocket caller) { Admit(std::move(caller)); }),
          asio::detached);
    }
    thread_ = std::thread([this] { context_.run(); });
  }

  std::vector<int> ports() const { return ports_; }  // any thread

  // Any thread.
  void StopAccepting() {
    if (stopped_.exchange(true)) return;
    asio::post(context_, [this] {
      std::error_code ignored;
      for (const auto& acceptor : acceptors_) acceptor->close(ignored);
    });
  }

 private:
  // A place among the strangers or a user's; given back when it goes.
  class Place {
   public:
    Place(std::map<std::string, int>& counts, int& total, const std::string& key)
        : counts_(counts), total_(total), key_(key) {
      ++counts_[key_];
      ++total_;
    }
    ~Place() {
      --total_;
      const auto found = counts_.find(key_);
      if (--found->second == 0) counts_.erase(found);
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    std::map<std::string, int>& counts_;
    int& total_;
    const std::string key_;
  };

  class Entry {
   public:
    Entry(ConnectionBook& book, std::uint64_t number, TlsConnection connection)
        : book_(book), number_(number) {
      book_.Enter(number_, std::move(connection));
    }
    ~Entry() { book_.Leave(number_); }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

   private:
    ConnectionBook& book_;
    const std::uint64_t number_;
  };

  absl::Status RefreshTls() {
    const std::shared_ptr<const access::TlsMaterial> now = keys_.Current();
    if (now == material_) return absl::OkStatus();
    KDBG_ASSIGN_OR_RETURN(tls_, MakeContext(*now));
    material_ = now;
    return absl::OkStatus();
  }

  static int CountOf(const std::map<std::string, int>& counts, const std::string& key) {
    const auto found = counts.find(key);
    return found == counts.end() ? 0 : found->second;
  }

  void Admit(TcpSocket socket) {
    std::error_code error;
    const asio::ip::tcp::endpoint from = socket.remote_endpoint(error);
    if (error) return;
    const std::string group = Group(from.address());
    if (strangers_ >= limits_.max_strangers ||
        CountOf(strangers_by_address_, group) >= limits_.max_strangers_per_address) {
      spdlog::debug("refused a connection from {}: too many are not known yet", group);
      return;
    }
    if (const absl::Status status = RefreshTls(); !status.ok()) {
      spdlog::error("TLS goes on with the keys it had: {}", status.ToString());
    }
    socket.set_option(asio::ip::tcp::no_delay(true), error);
    auto place = std::make_unique<Place>(strangers_by_address_, strangers_, group);
    auto stream = std::make_shared<TlsStream>(std::move(socket), *tls_);
    asio::co_spawn(context_, Serve(std::move(stream), std::move(place), group, from),
                   asio::detached);
  }

  // Closes the stream after `time`, unless it is cancelled before.
  std::shared_ptr<asio::steady_timer> CloseAfter(absl::Duration time,
                                                 const std::shared_ptr<TlsStream>& stream) {
    auto timer = std::make_shared<asio::steady_timer>(context_, absl::ToChronoNanoseconds(time));
    timer->async_wait([timer, stream](std::error_code error) {
      if (!error) CloseStream(*stream);
    });
    return timer;
  }

  asio::awaitable<void> Serve(std::shared_ptr<TlsStream> stream, std::unique_ptr<Place> place,
                              std::string group, asio::ip::tcp::endpoint from) {
    const auto handshake = CloseAfter(limits_.handshake_timeout, stream);
    const auto [error] = co_await stream->async_handshake(asio::ssl::stream_base::server, kNoThrow);
    handshake->cancel();
    const std::string from_text = fmt::format("{}:{}", from.address().to_string(), from.port());
    if (error) {
      spdlog::info("no TLS with {}: {}", from_text, error.message());
      CloseStream(*stream);
      co_return;
    }
    std::optional<access::CertificateClaim> claim = ClaimOf(stream->native_handle());
    std::shared_ptr<asio::steady_timer> lifetime;
    if (claim && users_.FromCertificate(*claim).ok()) {
      place.reset();
      const std::string& user = claim->common_name;
      if (connections_ >= limits_.max_connections ||
          CountOf(connections_by_user_, user) >= limits_.max_connections_per_user) {
        spdlog::warn("refused a connection of {}: {} of its own and {} in all are open", user,
                     CountOf(connections_by_user_, user), connections_);
        CloseStream(*stream);
        co_return;
      }
      place = std::make_unique<Place>(connections_by_user_, connections_, user);
      // A call may last for days; who is connected now comes again with a renewed certificate.
      lifetime = CloseAfter(claim->expire_time - absl::Now(), stream);
    } else {
      lifetime = CloseAfter(limits_.stranger_lifetime, stream);
    }
    const std::filesystem::path& door = claim ? sockets_.known : sockets_.strangers;
    const std::uint64_t number = next_connection_++;
    const Entry entry(book_, number,
                      {.address = group, .from = from_text, .claim = std::move(claim)});
    LocalSocket server(context_);
    if (!co_await ConnectPrivately(server, TlsRelayName(number), door.native())) {
      co_await Relay<TlsStream>::Run(context_, stream, std::move(server));
    }
    if (lifetime) lifetime->cancel();
    CloseStream(*stream);
  }

  const access::TlsKeys& keys_;
  const access::EnrolledUsers& users_;
  ConnectionBook& book_;
  const PrivateSockets sockets_;
  const TlsLimits limits_;
  std::vector<int> ports_;
  std::atomic<bool> stopped_ = false;
  std::shared_ptr<const access::TlsMaterial> material_;
  std::shared_ptr<asio::ssl::context> tls_;
  std::uint64_t next_connection_;
  std::map<std::string, int> strangers_by_address_;
  int strangers_ = 0;
  std::map<std::string, int> connections_by_user_;
  int connections_ = 0;
  // After what its coroutines use, which end with it.
  asio::io_context context_{1};
  std::vector<std::unique_ptr<Acceptor>> acceptors_;
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<TlsListener>> TlsListener::Start(
    const std::vector<config::TcpAddress>& addresses, const access::TlsKeys& keys,
    const access::EnrolledUsers& users, ConnectionBook& book, const PrivateSockets& sockets,
    const TlsLimits& limits) {
  auto impl = std::make_unique<Impl>(keys, users, book, sockets, limits);
  KDBG_RETURN_IF_ERROR(impl->Open(addresses));
  impl->Run();
  return std::unique_ptr<TlsListener>(new TlsListener(std::move(impl)));
}

TlsListener::TlsListener(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TlsListener::~TlsListener() = default;
std::vector<int> TlsListener::ports() const { return impl_->ports(); }
void TlsListener::StopAccepting() { impl_->StopAccepting(); }

}  // namespace kdbg::service
