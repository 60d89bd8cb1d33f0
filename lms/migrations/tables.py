"""Every room's tables, imported so that the metadata is whole."""

import lms.catalogue.models
import lms.centre.models
import lms.compute.models
import lms.enrolment.models
import lms.exchange.models
import lms.grading.models
import lms.identity.models
import lms.identity.oauth_models  # noqa: F401
from lms.foundation.db import Base

metadata = Base.metadata
