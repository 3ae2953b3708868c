// States as labels: a word, an icon and a colour.
import { Label } from '@patternfly/react-core';
import BanIcon from '@patternfly/react-icons/dist/esm/icons/ban-icon';
import CheckCircleIcon from '@patternfly/react-icons/dist/esm/icons/check-circle-icon';
import ClockIcon from '@patternfly/react-icons/dist/esm/icons/clock-icon';
import ExclamationCircleIcon from '@patternfly/react-icons/dist/esm/icons/exclamation-circle-icon';
import ExclamationTriangleIcon from '@patternfly/react-icons/dist/esm/icons/exclamation-triangle-icon';
import SyncAltIcon from '@patternfly/react-icons/dist/esm/icons/sync-alt-icon';
import type { ReactNode } from 'react';
import type { CertificateRow } from '../api/api';
import { certificateState } from '../lanes/words';
import type { Tone } from '../lanes/words';

const ICONS: Record<Tone, ReactNode> = {
  green: <CheckCircleIcon />,
  blue: <SyncAltIcon />,
  yellow: <ExclamationTriangleIcon />,
  orange: <ExclamationTriangleIcon />,
  red: <ExclamationCircleIcon />,
  grey: <ClockIcon />,
};

type Props = { text: string; tone: Tone; says?: string; isCompact?: boolean };

export function StateLabel({ text, tone, says, isCompact = false }: Props): ReactNode {
  const icon = text === 'Revoked' ? <BanIcon /> : ICONS[tone];
  return (
    <Label color={tone} icon={icon} isCompact={isCompact} variant="outline" {...(says ? { title: says } : {})}>
      {text}
    </Label>
  );
}

export function CertificateLabel({ certificate }: { certificate: CertificateRow }): ReactNode {
  return <StateLabel {...certificateState(certificate)} isCompact />;
}
