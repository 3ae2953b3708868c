// Who is not signed in sees the door; whoever is, the pages.
import { useEffect } from 'react';
import type { ReactNode } from 'react';
import { BrowserRouter, Route, Routes } from 'react-router';
import { useStore } from 'react-redux';
import { rememberCsrf, useSessionQuery } from './api/api';
import type { Session } from './api/api';
import { follow } from './api/stream';
import { Frame } from './Frame';
import { Loading, Nothing } from './parts/Answer';
import { CertificatePage } from './pages/CertificatePage';
import { CertificatesPage } from './pages/CertificatesPage';
import { IssuersPage } from './pages/IssuersPage';
import { LogPage } from './pages/LogPage';
import { OverviewPage } from './pages/OverviewPage';
import { ServicesPage } from './pages/ServicesPage';
import { SignIn } from './pages/SignIn';
import { SystemPage } from './pages/SystemPage';
import type { Store } from './store';

export function App(): ReactNode {
  const { currentData, error, isLoading } = useSessionQuery(undefined);
  if (isLoading) return <Loading />;
  // a server that is away, or restarts, ends no session: only its own word does
  const refused = error !== undefined && 'status' in error && (error.status === 401 || error.status === 403);
  if (refused || !currentData) return <SignIn />;
  return <SignedIn session={currentData} />;
}

function SignedIn({ session }: { session: Session }): ReactNode {
  const store = useStore() as unknown as Store;
  rememberCsrf(session.csrf);
  useEffect(() => follow(store), [store]);
  return (
    <BrowserRouter basename="/dashboard">
      <Frame session={session}>
        <Routes>
          <Route path="/" element={<OverviewPage />} />
          <Route path="/certificates" element={<CertificatesPage />} />
          <Route path="/certificates/:serial" element={<CertificatePage />} />
          <Route path="/services" element={<ServicesPage />} />
          <Route path="/issuers" element={<IssuersPage />} />
          <Route path="/log" element={<LogPage />} />
          <Route path="/log/:offset" element={<LogPage />} />
          <Route path="/system" element={<SystemPage />} />
          <Route path="*" element={<Nothing title="No such page">Look at the address.</Nothing>} />
        </Routes>
      </Frame>
    </BrowserRouter>
  );
}
